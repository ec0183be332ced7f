//! podman as an ordinary user.

use coracle_tests::{Pty, need};

use crate::compare::{Place, same};
use crate::user_s_nodes;

#[test]
fn podman_works_for_an_ordinary_user() {
    let nodes = need!(user_s_nodes(&[
        ("podman", "podman"),
        ("crun", "crun"),
        ("newuidmap", "uidmap"),
        ("slirp4netns", "slirp4netns"),
    ]));
    same(
        &nodes,
        r#"
        podman load -q -i $D/image.tar => localhost/base
        podman run --rm --network none base sh -c 'id; wc -l </proc/self/uid_map' => uid=0
        !7 podman run --rm base sh -c 'exit 7'
        !127 podman run --rm base nowhere
        !126 podman run --rm base /etc
        podman run --rm base sh -c 'ip -4 -o addr show tap0 | tr -s " " | cut -d" " -f4' => 10.0.2.100/24
        podman run --rm --network host base ip -o link | cut -d: -f2
        podman run --rm --user 1000:2000 base sh -c 'id; touch /tmp/x; stat -c %u /tmp/x' => uid=1000
        podman run --rm --userns=keep-id base sh -c 'id -u; wc -l </proc/self/uid_map'
        podman run --rm --userns=keep-id -v $HOME:/h base sh -c 'touch /h/mine; stat -c %u /h/mine'
        test $(stat -c %u $HOME/mine) = $(id -u)
        podman run --rm --userns=nomap base cat /proc/self/uid_map
        podman run --rm --read-only --tmpfs /t base sh -c 'touch /t/x; touch /x || echo read-only' => read-only
        podman run --rm --privileged base sh -c 'ls /dev | wc -l; grep CapEff /proc/self/status'
        podman run --rm --cap-drop all base grep Cap /proc/self/status
        podman run --rm base sh -c 'grep -e NoNewPrivs -e Seccomp: /proc/self/status; cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/ -e fs/cgroup'
        podman run --rm --device /dev/null:/dev/mine base sh -c 'echo >/dev/mine && echo fine' => fine
        podman run --rm --init --shm-size 1m --ulimit nofile=64:64 --ulimit nproc=512:512 base sh -c 'ulimit -n; df -k /dev/shm | tail -1 | tr -s " "; cat /proc/1/comm' => podman-init
        podman run -d --name box base sh -c 'trap "exit 9" TERM; while :; do sleep 0.1; done'
        podman exec box id => uid=0
        podman exec -u guest box id -u => 1000
        !127 podman exec box nowhere
        podman top box user comm | grep -v sleep | sort -u
        podman cp /etc/hostname box:/tmp/copied
        podman exec box test -e /tmp/copied
        podman stop -t 10 box
        podman wait box => 9
        podman start box
        podman kill box
        podman wait box => 137
        podman rm box
        podman pod create --name pod
        podman run -d --pod pod --name one base sleep 1001
        podman run --rm --pod pod base sh -c 'hostname; ip -o link | grep -c tap0' => pod
        podman pod stop -t 0 pod 2>/dev/null
        podman pod rm -f pod 2>/dev/null
        podman run -d --name web -p 127.0.0.1:8081:80 base sh -c 'mkdir /www; echo served >/www/index.html; httpd -f -h /www -p 80'
        until_ok sh -c 'busybox wget -q -O- http://127.0.0.1:8081/' => served
        podman rm -f -t 0 -a >/dev/null
        podman info --format '{{.Host.OCIRuntime.Name}}' | grep -c -e runc -e coracle
        none_left $XDG_RUNTIME_DIR/runc $XDG_RUNTIME_DIR/coracle -mindepth 1
        "#,
    );
    for node in &nodes {
        let mut pty = Pty::new(31, 97);
        let running = pty.spawn(node.sh("exec podman run --rm -it base sh"));
        pty.shows("# ");
        pty.types("tty; stty size; echo $((6 * 7))\n");
        let shown = pty.shows("42");
        assert!(shown.contains("/dev/pts/0") && shown.contains("31 97"), "{shown}");
        pty.types("exit 4\n");
        running.wait().exits(4);
    }
}
