//! buildah with the isolation `oci`, as root and as an ordinary user.

use coracle_tests::{Needs, need};

use crate::compare::same;
use crate::node::Node;
use crate::{nodes, user_s_nodes};

const PROGRAMS: [(&str, &str); 2] = [("buildah", "buildah"), ("crun", "crun")];

const CONTAINERFILE: &str = r#"
FROM localhost/base
ENV A=b
WORKDIR /made
RUN echo "$A" >file && pwd && id
RUN ["/bin/sh", "-c", "grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; cat /proc/self/uid_map | wc -l"]
RUN --mount=type=tmpfs,target=/t grep -c ' /t ' /proc/self/mountinfo
RUN --mount=type=bind,source=.,target=/context cat /context/here
USER guest
RUN id -un; touch /x || echo denied
RUN ip -o link | cut -d: -f2 | grep -c lo
CMD ["cat", "/made/file"]
"#;

fn builds(nodes: Needs<[Node; 2]>) {
    let nodes = need!(nodes);
    for node in &nodes {
        std::fs::write(node.path().join("Containerfile"), CONTAINERFILE).unwrap();
    }
    same(
        &nodes,
        r#"
        export BUILDAH_ISOLATION=oci; mkdir context && echo here >context/here && cp $D/Containerfile context/
        buildah pull -q docker-archive:$D/image.tar
        buildah bud --isolation oci --runtime $RUNTIME --network none -t built context | grep -v -e '^--> ' -e '^ID$' => denied
        # As configured.
        buildah bud --isolation oci --network none --no-cache -q -t again context >/dev/null
        buildah inspect --type image built | grep -c made/file
        printf 'FROM localhost/base\nRUN exit 5\n' >fails
        ~ buildah bud --isolation oci --runtime $RUNTIME --network none -f fails context; echo $?
        printf 'FROM localhost/base\nRUN ["/no/where"]\n' >fails
        !1 buildah bud --isolation oci --runtime $RUNTIME --network none -f fails context 2>/dev/null
        buildah from --name box built >/dev/null
        buildah run --isolation oci --runtime $RUNTIME --network none box -- cat /made/file => b
        !7 buildah run --isolation oci --runtime $RUNTIME --network none box -- sh -c 'exit 7' 2>/dev/null
        buildah run --isolation oci --runtime $RUNTIME --network none --user root --cap-add CAP_SYS_ADMIN --hostname h1 box -- sh -c 'hostname; id -u; grep CapEff /proc/self/status' => h1
        echo typed | buildah run --isolation oci --runtime $RUNTIME --network none box -- cat => typed
        buildah run --isolation oci --runtime $RUNTIME --network none -v $PWD/context:/v:ro box -- cat /v/here => here
        buildah rm box >/dev/null
        none_left /run/runc /run/coracle $XDG_RUNTIME_DIR/runc $XDG_RUNTIME_DIR/coracle -mindepth 1
        none_left /sys/fs/cgroup -mindepth 2 -type d -name '*buildah*'
        "#,
    );
}

#[test]
fn buildah_builds_as_root() {
    builds(nodes(&PROGRAMS));
}

#[test]
fn buildah_builds_as_an_ordinary_user() {
    builds(user_s_nodes(&PROGRAMS));
}
