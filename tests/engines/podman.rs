//! podman as root.

use coracle_tests::{Needs, Pty, need};

use crate::compare::{Place, same};
use crate::node::Node;
use crate::nodes;

const IMPORT: &str = "podman load -q -i $D/image.tar => localhost/base";

/// Everything that must be gone when the containers are.
const LEFT: &str = r#"
    podman rm -f -a -t 0 >/dev/null
    none_left /run/runc /run/coracle -mindepth 1
    none_left /sys/fs/cgroup -mindepth 2 -type d -path '*libpod*' -name 'libpod-*'
    until_ok sh -c '! pgrep conmon >/dev/null'
    test -z "$(grep merged /proc/self/mounts)"
"#;

fn podman() -> Needs<[Node; 2]> {
    let nodes = nodes(&[("podman", "podman"), ("conmon", "conmon"), ("crun", "crun")])?;
    same(&nodes, IMPORT);
    Ok(nodes)
}

#[test]
fn podman_runs_what_it_is_asked_to() {
    let nodes = need!(podman());
    same(
        &nodes,
        r#"
        podman run --rm base echo hello => hello
        !7 podman run --rm base sh -c 'exit 7'
        !137 podman run --rm base sh -c 'sleep 100 & kill -9 $!; wait $!' 2>/dev/null
        echo typed | podman run --rm -i base cat => typed
        podman run --rm base sh -c 'echo out; echo err >&2'
        podman run --rm --user 1000:2000 --workdir /tmp --hostname h1 base sh -c 'id; pwd; hostname' => gid=2000
        podman run --rm --user guest --group-add 3000 base id => 2000(extra),3000
        podman run --rm -e A=b base env | sort
        podman run --rm --add-host one:10.1.2.3 --network none base grep one /etc/hosts => 10.1.2.3
        !1 podman run --rm --read-only base touch /x
        podman run --rm --read-only base sh -c 'touch /tmp/x /run/y /dev/shm/z && echo fine' => fine
        podman run --rm --tmpfs /t:size=64k,mode=700 base sh -c 'stat -c %a /t; grep " /t " /proc/self/mounts' => size=64k
        podman run --rm --shm-size 1m base sh -c 'df -k /dev/shm | tail -1 | tr -s " " | cut -d" " -f2' => 1024
        podman run --rm --cap-drop all --cap-add net_bind_service --cap-add chown base grep Cap /proc/self/status => 0000000000000401
        podman run --rm --privileged base grep -e Cap -e Seccomp /proc/self/status
        podman run --rm --privileged base sh -c 'ls /dev | wc -l; ls -A /proc/acpi /sys/firmware | wc -l'
        podman run --rm base sh -c 'stat -c "%A %t:%T %N" /dev/*'
        podman run --rm base sh -c 'grep -e Cap -e NoNewPrivs -e Seccomp /proc/self/status'
        # Masks come from another /dev/null, and the cgroups' directory is as read-only as is asked.
        podman run --rm base sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/keys -e /proc/timer_list -e "fs/cgroup "'
        podman run --rm base sh -c 'ls /proc/self/fd; ulimit -a'
        podman run --rm --security-opt no-new-privileges base grep NoNewPrivs /proc/self/status => 1
        podman run --rm --security-opt mask=/etc/group --security-opt unmask=/proc/keys base sh -c 'cat /etc/group; grep -q . /proc/keys && echo seen' => seen
        podman run --rm --security-opt unmask=ALL base sh -c 'mount | grep -c /proc/' || true
        podman run --rm --security-opt seccomp=unconfined base grep Seccomp: /proc/self/status => 0
        podman run --rm --ulimit nofile=100:200 --ulimit nproc=50 --ulimit core=0 base sh -c 'ulimit -n; ulimit -Hn; ulimit -c' => 200
        podman run --rm --device /dev/fuse:/dev/f:r base stat -c '%F %a %u:%g %t:%T' /dev/f => a:e5
        podman run --rm --sysctl net.ipv4.ip_default_ttl=77 base cat /proc/sys/net/ipv4/ip_default_ttl => 77
        podman run --rm --pid host base sh -c 'readlink /proc/self/ns/pid' >/dev/null
        podman run --rm --ipc host --uts host base hostname => NODE
        podman run --rm --oom-score-adj 300 base cat /proc/self/oom_score_adj => 300
        podman run --rm --umask 0077 base sh -c umask => 0077
        podman run --rm --entrypoint /bin/echo base entry => entry
        podman run --rm --init base cat /proc/1/comm => podman-init
        podman run --rm --systemd=always base sh -c 'cut -d" " -f5,6 /proc/self/mountinfo | grep -v -e hostname -e hosts -e resolv -e containerenv -e /proc/keys -e /proc/timer_list -e "fs/cgroup " | sort; echo $container' => podman
        podman run --rm --tz UTC base date +%Z => UTC
        ~ podman run --rm --cgroups=disabled base sh -c 'grep -c :/$ /proc/1/cgroup'
        podman run --rm --cgroups=no-conmon base true
        ~ podman run --rm --personality=LINUX32 base uname -m => i686
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn podman_is_told_why_a_command_cannot_run() {
    let nodes = need!(podman());
    same(
        &nodes,
        r#"
        !127 podman run --rm base nowhere
        !127 podman run --rm base /no/where
        !126 podman run --rm base /etc
        !126 podman run --rm base /etc/passwd
        !126 podman run --rm --memory 1k base true
        !125 podman run --rm --no-such-option base true
        !127 podman run --rm --workdir /etc/passwd base true || exit 127
        !126 podman run --rm --workdir /not/there base true
        !127 podman run --rm --user nobody-at-all base true || exit 127
        podman run -d --name c base sleep 1000
        !127 podman exec c nowhere
        !126 podman exec c /etc
        !126 podman exec c /etc/passwd
        !3 podman exec c sh -c 'exit 3'
        !137 podman exec c sh -c 'kill -9 $$'
        !125 podman exec no-such-container true
        podman create --name nowhere base /no/where
        !125 podman start nowhere
        podman inspect nowhere --format '{{.State.Status}} {{.State.ExitCode}}'
        podman rm nowhere
        podman kill c
        !255 podman exec c true
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn podman_drives_a_container_s_life() {
    let nodes = need!(podman());
    same(
        &nodes,
        r#"
        podman run -d --name c --pidfile $D/pid --memory 64m --cpus 0.5 base sh -c 'echo begin; trap "echo term; exit 9" TERM; while :; do sleep 0.1; done'
        grep -q '^[0-9]*$' $D/pid && kill -0 $(cat $D/pid)
        podman inspect c --format '{{.State.Status}} {{.State.Running}} {{.OCIRuntime}} {{.HostConfig.Memory}}' => running
        podman exec c id
        podman exec -u guest -w /tmp -e X=y c sh -c 'id -u; pwd; echo $X' => 1000
        echo typed | podman exec -i c cat => typed
        podman exec -d c sh -c 'sleep 0.1; echo >/tmp/done'
        until_ok podman exec c ls /tmp/done 2>/dev/null
        podman exec --privileged c grep CapEff /proc/self/status
        podman exec c sh -c 'cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes' 2>/dev/null => 67108864
        podman update --memory 96m --cpus 0.25 --cpu-shares 300 c
        podman exec c sh -c 'cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes' 2>/dev/null => 100663296
        podman exec c sh -c 'cat /sys/fs/cgroup/cpu.max || cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us' 2>/dev/null => 25000
        podman top c user comm | grep -v sleep | sort -u => sh
        podman top c -eo comm,user | grep -v sleep | sort -u
        podman stats --no-stream --no-reset --format '{{.Name}} {{.MemLimit}}' c
        podman stats --no-stream --no-reset --format '{{.PIDs}}' c | grep -q '[1-9]'
        podman pause c
        podman inspect c --format '{{.State.Status}}' => paused
        !255 podman exec c true
        podman unpause c
        podman inspect c --format '{{.State.Status}}' => running
        echo copied >there
        podman cp there c:/tmp/there
        podman exec c cat /tmp/there => copied
        podman cp c:/etc/passwd back && cat back
        podman diff c | sort
        podman commit -q c snapshot >/dev/null
        podman run --rm snapshot cat /tmp/there => copied
        podman export c | tar t | grep -c bin/
        podman kill -s CONT c
        !2 podman rm c
        podman stop -t 10 c
        podman wait c => 9
        podman logs c => term
        podman logs --tail 1 c => term
        podman inspect c --format '{{.State.Status}} {{.State.ExitCode}} {{.State.OOMKilled}}' => exited 9 false
        podman start c
        podman restart -t 5 c
        podman ps --filter status=running --format '{{.Names}}' => c
        podman kill -s KILL c
        podman wait c => 137
        podman rm c
        podman run -d --name slow base sh -c 'trap : TERM; while :; do sleep 0.1; done'
        podman stop -t 0 slow
        podman inspect slow --format '{{.State.ExitCode}}' => 137
        podman run -d --name forced base sleep 1000
        podman rm -f -t 0 forced
        podman run -d --name again --restart on-failure:2 base sh -c 'exit 3'
        until_ok sh -c 'podman inspect again --format "{{.RestartCount}} {{.State.Status}}" | grep "2 exited"' => 2 exited
        podman run -d --name json --log-driver json-file base echo logged
        podman wait json
        podman logs json => logged
        podman run --name none --log-driver none base echo shown => shown
        !125 podman logs none
        podman run --log-driver passthrough base echo passed => passed
        podman create --name made base echo later
        podman init made
        podman inspect made --format '{{.State.Status}}' => initialized
        podman start -a made => later
        podman run -d --name healthy --health-cmd 'test -e /tmp/well' --health-interval disable base sleep 1000
        !1 podman healthcheck run healthy
        podman exec healthy touch /tmp/well
        podman healthcheck run healthy
        podman run -d --name oom --memory 16m base sh -c 'tail /dev/zero'
        podman wait oom => 137
        # conmon may hear of the end before it hears of its cause.
        ~ podman inspect oom --format '{{.State.OOMKilled}}'
        podman events --stream=false --format '{{.Status}}' --filter container=made
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn podman_has_networks_volumes_pods_and_units() {
    let nodes = need!(podman());
    let pod = "
apiVersion: v1
kind: Pod
metadata: {name: played}
spec:
  containers:
  - name: one
    image: localhost/base
    command: [sh, -c, 'echo first | tee /data/said; sleep 1000']
    env: [{name: WHO, value: one}]
    resources: {limits: {memory: 32Mi, cpu: 500m}}
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts: [{name: data, mountPath: /data}]
  - {name: two, image: localhost/base, command: [sleep, '1000']}
  volumes:
  - {name: data, emptyDir: {}}
";
    for node in &nodes {
        std::fs::write(node.path().join("work/pod.yaml"), pod).unwrap();
    }
    same(
        &nodes,
        r#"
        podman network create --subnet 10.77.0.0/24 net
        podman run -d --name web --network net -p 127.0.0.1:8080:80 base sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www -p 80'
        podman exec web ip -4 addr show eth0 | grep -o 10.77.0.* => 10.77.0.2
        until_ok podman run --rm --network net base wget -q -O- http://10.77.0.2/ => served
        podman run --rm --network container:web base wget -q -O- http://127.0.0.1/ => served
        podman run --rm --network host base hostname
        podman run --rm --network none base ip -o link | cut -d: -f2
        podman rm -f -t 0 web
        podman volume create vol
        podman run --rm -v vol:/v base sh -c 'echo kept >/v/file'
        podman run --rm -v vol:/v:ro base cat /v/file => kept
        !1 podman run --rm -v vol:/v:ro base touch /v/file
        mkdir -p dir && podman run --rm -v ./dir:/d:rw,noexec,rslave base sh -c 'grep " /d " /proc/self/mountinfo | cut -d" " -f5-7 | cut -d: -f1' => master
        podman run --rm --mount type=bind,src=/etc/hostname,dst=/h,ro base cat /h >/dev/null
        podman run --rm --mount type=tmpfs,dst=/t,tmpfs-size=1m base df -k /t | tail -1
        podman run --rm --userns=auto:size=5000 base sh -c 'wc -l </proc/self/uid_map; tr -s " " </proc/self/uid_map | cut -d" " -f4' => 5000
        podman run --rm --uidmap 0:2000000:1000 --gidmap 0:2000000:1000 base sh -c 'id; cat /proc/self/uid_map; touch /x && stat -c %u /x' => 2000000
        podman run --rm --uidmap 0:2000000:1000 -v vol:/v:U base sh -c 'stat -c %u /v/file'
        podman run --rm --userns=host base cat /proc/self/uid_map
        podman pod create --name pod --hostname inpod --share pid,ipc,net,uts
        podman run -d --pod pod --name first base sleep 1001
        podman run --rm --pod pod base sh -c 'hostname; ps | grep -q "sleep 1001" && echo seen' => inpod
        podman pod inspect pod --format '{{.State}} {{.NumContainers}}' => Running 2
        podman pod top pod comm
        podman pod pause pod
        podman pod unpause pod
        podman pod stats --no-stream --format '{{.Name}}' pod | grep -c -e infra -e first => 2
        podman pod kill pod 2>/dev/null
        podman pod start pod
        podman pod stop -t 0 pod 2>/dev/null
        podman pod rm -f pod 2>/dev/null
        podman kube play pod.yaml 2>/dev/null
        until_ok sh -c 'podman logs played-one | grep first' => first
        podman exec played-one sh -c 'id -u; echo $WHO; grep CapEff /proc/self/status; touch /x || echo read-only' => read-only
        podman exec played-one sh -c 'cat /sys/fs/cgroup/memory.max || cat /sys/fs/cgroup/memory/memory.limit_in_bytes' 2>/dev/null => 33554432
        podman generate kube played 2>/dev/null | grep -c image:
        podman kube down pod.yaml
        podman create --name unit base sleep 1000
        podman generate systemd --name unit | grep -v -e '^#' => ExecStart
        podman generate systemd --new --name unit | grep -v -e '^#' => ExecStart
        "#,
    );
    same(&nodes, LEFT);
}

#[test]
fn podman_s_containers_have_terminals() {
    let nodes = need!(podman());
    for node in &nodes {
        let mut pty = Pty::new(31, 97);
        let running = pty.spawn(node.sh("exec podman run --name term -it base sh"));
        pty.shows("# ");
        pty.types("tty; stty size; echo $((6 * 7))\n");
        let shown = pty.shows("42");
        assert!(shown.contains("/dev/pts/0") && shown.contains("31 97"), "{shown}");
        let mut second = Pty::new(12, 34);
        let exec = second.spawn(node.sh("exec podman exec -it term sh"));
        second.shows("# ");
        second.types("stty size; exit 3\n");
        second.shows("12 34");
        exec.wait().exits(3);
        pty.resize(20, 60);
        pty.types("until stty size | grep '20 60'; do sleep 0.1; done\n");
        pty.shows("20 60\r");
        pty.types("exit 4\n");
        running.wait().exits(4);
    }
    same(&nodes, LEFT);
}

#[test]
fn podman_loses_nothing_when_it_is_killed() {
    let nodes = need!(podman());
    let mut scenario = String::from("podman run -d --name live base sleep 1000\n");
    for wait in ["0.05", "0.1", "0.2", "0.3"] {
        scenario += &format!(
            r#"
            daemon cut podman run -d --name cut base sleep 1000
            sleep {wait}; end cut KILL 2>/dev/null
            daemon cut podman exec live sleep 1
            sleep {wait}; end cut KILL 2>/dev/null
            podman exec live echo still 2>/dev/null => still
            ~ podman rm -f -i -t 0 cut
            podman run --rm --name cut base echo free 2>/dev/null => free
            "#
        );
    }
    scenario += r#"
        # The monitor.
        kill -9 $(cat $(podman inspect live --format '{{.ConmonPidFile}}'))
        podman exec live echo still => still
        podman rm -f -t 0 live
        # What podman was not told of before it was killed, the runtime still knows.
        for id in $($RUNTIME list -q); do $RUNTIME delete --force $id; done
        until_ok sh -c '! pgrep conmon >/dev/null'
        "#;
    same(&nodes, &scenario);
    same(&nodes, LEFT);
}
