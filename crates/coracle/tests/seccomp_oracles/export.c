/* Compiles a list of rules with libseccomp and writes the program to standard output.
 *
 * Lines of standard input: "optimize N", "default ACTION", "arch TOKEN", and for each rule
 * "rule ACTION NAME COUNT" with COUNT times "INDEX OP VALUE VALUE2" on the same line. What it does
 * not know it names on standard error, "unknown NAME", "refused NAME" or "arch TOKEN", and
 * "lacks TOKEN NAME" for a call that an architecture lacks; "took N" tells the nanoseconds.
 */
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void)
{
	char word[256];
	scmp_filter_ctx filter = NULL;
	unsigned optimize = 1;
	long long took = 0;
	uint32_t archs[32] = { SCMP_ARCH_X86_64 };
	unsigned arch_count = 1;

	while (scanf("%255s", word) == 1) {
		if (!strcmp(word, "optimize")) {
			if (scanf("%u", &optimize) != 1)
				return 2;
		} else if (!strcmp(word, "default")) {
			unsigned action;

			if (scanf("%u", &action) != 1)
				return 2;
			filter = seccomp_init(action);
			if (!filter)
				return 3;
			if (optimize > 1)
				seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, optimize);
		} else if (!strcmp(word, "arch")) {
			unsigned token;
			int error;

			if (scanf("%u", &token) != 1)
				return 2;
			error = seccomp_arch_add(filter, token);
			if (error && error != -EEXIST)
				fprintf(stderr, "arch %u\n", token);
			else if (arch_count < 32)
				archs[arch_count++] = token;
		} else if (!strcmp(word, "rule")) {
			struct scmp_arg_cmp args[6];
			unsigned action, count, i;
			int number, error;
			long long start;

			if (scanf("%u %255s %u", &action, word, &count) != 3 || count > 6)
				return 2;
			for (i = 0; i < count; i++) {
				unsigned index, op;
				uint64_t a, b;

				if (scanf("%u %u %" SCNu64 " %" SCNu64, &index, &op, &a, &b) != 4)
					return 2;
				args[i] = (struct scmp_arg_cmp){ index, op, a, b };
			}
			for (i = 0; i < arch_count; i++) {
				number = seccomp_syscall_resolve_name_arch(archs[i], word);
				/* Multiplexed ones have small negative numbers. */
				if (number == __NR_SCMP_ERROR || number <= -10000)
					fprintf(stderr, "lacks %u %s\n", archs[i], word);
			}
			start = now();
			number = seccomp_syscall_resolve_name(word);
			if (number == __NR_SCMP_ERROR) {
				fprintf(stderr, "unknown %s\n", word);
				continue;
			}
			error = seccomp_rule_add_array(filter, action, number, count, args);
			took += now() - start;
			if (error)
				fprintf(stderr, "refused %s\n", word);
		} else {
			return 2;
		}
	}
	fflush(stdout);
	long long start = now();
	int error = seccomp_export_bpf(filter, STDOUT_FILENO);
	took += now() - start;
	fprintf(stderr, "took %lld\n", took);
	return error ? 4 : 0;
}
