//! containerd's CRI, called as a kubelet does, with coracle as the handler of a `RuntimeClass`.

use coracle_tests::{Needs, need};

use crate::compare::{Place, same};
use crate::node::Node;
use crate::nodes;
use crate::programs::program;

const CONFIG: &str = r#"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:latest"
  # Without CAP_SYS_RESOURCE the score cannot be lowered.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tried]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.tried.options]
        BinaryName = "BINARY"
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "DIRECTORY/cni"
"#;

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "pods", "plugins": [
    {"type": "bridge", "bridge": "pods0", "isGateway": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.79.0.0/24"}]]}}
]}"#;

const UP: &str = r#"
    mkdir -p /run/containerd
    daemon containerd containerd -c $D/containerd.toml
    until_ok ctr version >/dev/null 2>&1
    ctr -n k8s.io image import $D/image.tar >/dev/null
    ctr -n k8s.io image import $D/pause.tar >/dev/null
    until_ok /usr/bin/python3 $D/cri.py /run/containerd/containerd.sock Version {} >/dev/null 2>&1
"#;

/// Two pods, and the containers of one of them.
const CONFIGS: [(&str, &str); 5] = [
    (
        "pod",
        r#"{"metadata": {"name": "pod", "uid": "u1", "namespace": "default"}, "hostname": "inpod",
        "log_directory": "DIRECTORY", "linux": {"cgroup_parent": "/kubepods/pod1", "security": {"namespaces": {"pid": 1}},
        "sysctls": [{"key": "net.ipv4.ip_default_ttl", "value": "77"}]}}"#,
    ),
    (
        "host",
        r#"{"metadata": {"name": "host", "uid": "u2", "namespace": "default"}, "log_directory": "DIRECTORY",
        "linux": {"security": {"namespaces": {"network": 2, "pid": 0, "ipc": 2}}}}"#,
    ),
    (
        "main",
        r#"{"metadata": {"name": "main"}, "image": {"image": "localhost/base:latest"},
        "command": ["sh", "-c", "echo begun; trap 'exit 9' TERM; while :; do sleep 0.1; done"], "log_path": "main.log",
        "envs": [{"key": "A", "value": "b"}], "mounts": [{"container_path": "/h", "host_path": "/etc", "readonly": 1}],
        "linux": {"resources": {"memory": 67108864, "cpu_period": 100000, "cpu_quota": 50000},
        "security": {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}, "user": {"value": 1000},
        "readonly_rootfs": 1, "no_new_privs": 1, "masked_paths": ["/proc/keys", "/proc/acpi"]}}}"#,
    ),
    (
        "missing",
        r#"{"metadata": {"name": "missing"}, "image": {"image": "localhost/base:latest"}, "command": ["/no/where"], "log_path": "m.log"}"#,
    ),
    (
        "once",
        r#"{"metadata": {"name": "once"}, "image": {"image": "localhost/base:latest"}, "log_path": "once.log",
        "command": ["sh", "-c", "ip -o link | cut -d: -f2; hostname; exit 3"]}"#,
    ),
];

fn cri() -> Needs<[Node; 2]> {
    let nodes =
        nodes(&[("containerd", "containerd"), ("runc", "runc"), ("python3", "python3-grpcio")])?;
    for (path, package) in [
        ("/usr/lib/cni/bridge", "containernetworking-plugins"),
        ("/usr/lib/python3/dist-packages/grpc", "python3-grpcio"),
    ] {
        if !std::fs::exists(path).unwrap_or_default() {
            return Err(format!("needs {path} (package {package})"));
        }
    }
    program("ctr", "containerd")?;
    for node in &nodes {
        let directory = node.path();
        let fill = |text: &str| {
            let text = text.replace("DIRECTORY", directory.to_str().unwrap());
            text.replace("BINARY", node.runtime().1.to_str().unwrap())
        };
        std::fs::create_dir(directory.join("cni")).unwrap();
        let write = |name: &str, text: String| std::fs::write(directory.join(name), text).unwrap();
        write("cni/pods.conflist", NETWORK.to_owned());
        write("containerd.toml", fill(CONFIG));
        write("cri.py", include_str!("cri.py").to_owned());
        for (name, config) in CONFIGS {
            write(&format!("{name}.json"), fill(config));
        }
    }
    same(&nodes, UP);
    Ok(nodes)
}

#[test]
fn a_kubelet_runs_pods_on_coracle() {
    let nodes = need!(cri());
    same(
        &nodes,
        r#"
        cri RunPodSandbox "{\"config\": $(cat $D/pod.json), \"handler\": \"tried\"}" id >pod
        cri PodSandboxStatus "{\"id\": \"$(cat pod)\"}" status state => 0
        cri PodSandboxStatus "{\"id\": \"$(cat pod)\"}" status network ip => 10.79.0.
        cri CreateContainer "{\"pod\": \"$(cat pod)\", \"config\": $(cat $D/main.json), \"pod_config\": $(cat $D/pod.json)}" id >main
        cri ContainerStatus "{\"id\": \"$(cat main)\"}" status state => 0
        cri StartContainer "{\"id\": \"$(cat main)\"}"
        cri ContainerStatus "{\"id\": \"$(cat main)\"}" status state => 1
        run main id => uid=1000
        run main sh -c 'grep -e Cap -e NoNewPrivs -e Seccomp: /proc/self/status; hostname; echo $A; cat /proc/sys/net/ipv4/ip_default_ttl; touch /x || echo read-only; test -e /h/passwd' => read-only
        run main sh -c 'cut -d" " -f5,6,9 /proc/self/mountinfo | sort | grep -v -e /proc/keys -e "fs/cgroup "'
        run main sh -c 'ip -4 -o addr show eth0 | grep -c 10.79.0' => 1
        cri ExecSync "{\"id\": \"$(cat main)\", \"cmd\": [\"sh\", \"-c\", \"exit 5\"]}" exit_code => 5
        !1 run main nowhere
        !1 cri ExecSync "{\"id\": \"$(cat main)\", \"cmd\": [\"sleep\", \"100\"], \"timeout\": 1}" exit_code
        cri ContainerStats "{\"id\": \"$(cat main)\"}" stats memory working_set value | grep -c '^[1-9]'
        cri ContainerStats "{\"id\": \"$(cat main)\"}" stats cpu usage value | grep -c '^[1-9]'
        cri UpdateContainerResources "{\"id\": \"$(cat main)\", \"linux\": {\"memory\": 100663296, \"cpu_quota\": 25000}}"
        cd /sys/fs/cgroup; cat kubepods/pod1/*/memory.max 2>/dev/null || cat memory/kubepods/pod1/$(cat $D/work/main)/memory.limit_in_bytes cpu/kubepods/pod1/$(cat $D/work/main)/cpu.cfs_quota_us => 100663296
        cri CreateContainer "{\"pod\": \"$(cat pod)\", \"config\": $(cat $D/missing.json), \"pod_config\": $(cat $D/pod.json)}" id >missing
        !1 cri StartContainer "{\"id\": \"$(cat missing)\"}"
        cri ContainerStatus "{\"id\": \"$(cat missing)\"}" status exit_code
        cri ContainerStatus "{\"id\": \"$(cat missing)\"}" status reason => StartError
        cri CreateContainer "{\"pod\": \"$(cat pod)\", \"config\": $(cat $D/once.json), \"pod_config\": $(cat $D/pod.json)}" id >once
        cri StartContainer "{\"id\": \"$(cat once)\"}"
        until_ok sh -c '/usr/bin/python3 $D/cri.py /run/containerd/containerd.sock ContainerStatus "{\"id\": \"$(cat once)\"}" status state | grep 2'
        cri ContainerStatus "{\"id\": \"$(cat once)\"}" status exit_code => 3
        cut -d' ' -f2- $D/once.log => inpod
        cri StopContainer "{\"id\": \"$(cat main)\", \"timeout\": 10}"
        cri ContainerStatus "{\"id\": \"$(cat main)\"}" status exit_code => 9
        cut -d' ' -f2- $D/main.log => begun
        cri RemoveContainer "{\"id\": \"$(cat main)\"}"
        # The other runtime beside it, on the host's network.
        cri RunPodSandbox "{\"config\": $(cat $D/host.json), \"handler\": \"tried\"}" id >host
        cri CreateContainer "{\"pod\": \"$(cat host)\", \"config\": $(cat $D/once.json), \"pod_config\": $(cat $D/host.json)}" id >onhost
        cri StartContainer "{\"id\": \"$(cat onhost)\"}"
        # The engine is killed under its pods.
        end containerd KILL
        daemon containerd containerd -c $D/containerd.toml
        until_ok /usr/bin/python3 $D/cri.py /run/containerd/containerd.sock Version {} >/dev/null 2>&1
        cri PodSandboxStatus "{\"id\": \"$(cat pod)\"}" status state => 0
        cri RunPodSandbox "{\"config\": $(sed s/u2/u3/\;s/host/plain/ $D/host.json), \"handler\": \"\"}" id >plain
        for pod in pod host plain; do cri StopPodSandbox "{\"id\": \"$(cat $pod)\"}"; cri RemovePodSandbox "{\"id\": \"$(cat $pod)\"}"; done
        until_ok sh -c '! pgrep -f "[c]ontainerd-shim" >/dev/null'
        none_left /run/containerd/runc /run/containerd/io.containerd.runtime.v2.task -mindepth 2
        none_left /sys/fs/cgroup -mindepth 2 -type d -path '*kubepods/pod1/*'
        ip netns | wc -l
        "#,
    );
}
