//! coracle where runc or crun was installed, and under their names: no engine is told.

use std::fs;

use coracle_tests::need;

use crate::compare::same;
use crate::node::{Node, Runtime};
use crate::programs::program;

#[test]
fn engines_do_not_notice_who_has_taken_the_place() {
    for (name, package) in
        [("podman", "podman"), ("ctr", "containerd"), ("containerd", "containerd")]
    {
        need!(program(name, package));
    }
    let runtimes = [
        need!(Runtime::runc()),
        need!(Runtime::in_place_of("runc")),
        need!(Runtime::in_place_of("crun")),
    ];
    let nodes = runtimes.map(|runtime| Node::new(runtime, None));
    for node in &nodes {
        // The runtime by its name only, as distributions configure it.
        let path = node.path().join("containers.conf");
        let text = fs::read_to_string(&path).unwrap();
        let runtimes = text.lines().filter(|line| {
            !line.starts_with("runtime_supports")
                && !line.ends_with("\"]")
                && *line != "[engine.runtimes]"
                || line.starts_with("default_ulimits")
        });
        fs::write(&path, runtimes.collect::<Vec<_>>().join("\n")).unwrap();
    }
    same(
        &nodes,
        r#"
        podman load -q -i $D/image.tar => localhost/base
        podman info --format '{{.Host.OCIRuntime.Name}}' => RUNTIME
        podman run --rm base echo hello => hello
        !7 podman run --rm base sh -c 'exit 7'
        !127 podman run --rm base nowhere
        !126 podman run --rm base /etc
        podman run -d --name box --memory 64m base sleep 1000
        podman exec box id
        !127 podman exec box nowhere
        podman update --memory 96m box
        podman stats --no-stream --no-reset --format '{{.MemLimit}}' box
        podman pause box
        podman unpause box
        podman top box user comm
        podman rm -f -t 0 box
        none_left /run/runc /run/crun -mindepth 1
        "#,
    );
    same(
        &nodes[..2],
        r#"
        mkdir -p /run/containerd
        echo 'version = 2' >$D/containerd.toml
        daemon containerd containerd -c $D/containerd.toml
        until_ok ctr version >/dev/null 2>&1
        ctr image import $D/image.tar >/dev/null
        ctr run --rm localhost/base:latest box echo hello => hello
        ctr run -d localhost/base:latest box sleep 1000
        ctr task exec --exec-id e box sh -c 'id; sleep 0.2' => uid=0
        ctr task rm -f box
        "#,
    );
}
