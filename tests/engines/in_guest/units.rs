//! Containers that systemd starts, quadlets and what `podman generate systemd` writes, and those whose
//! health it watches.

use std::fs;

use coracle_tests::need;

use super::{LEFT, turn};
use crate::compare::same;
use crate::machine::Machine;

/// A container as podman's generator takes it. What a user's service would wait for without the second
/// section is the machine's network, of which systemd knows nothing here.
const QUADLET: &str = r#"
[Quadlet]
DefaultDependencies=false
[Container]
Image=localhost/base
ContainerName=quadlet
GlobalArgs=--root $D/home/root --runroot $D/home/run
PodmanArgs=--memory 48m
Exec=sh -c 'trap "exit 0" TERM; while :; do sleep 0.3; done'
[Service]
Environment=CONTAINERS_CONF=$D/containers.conf
"#;

/// One service for each runtime. USER is `--user` or nothing, UNITS where systemd looks for units.
const SCENARIO: &str = r#"
    podman load -q -i $D/image.tar => localhost/base
    mkdir -p UNITS made
    QUADLET_UNIT_DIRS=$D/work /usr/libexec/podman/quadlet USER made
    cp made/quadlet.service UNITS/quadlet-${RUNTIME##*/}.service
    systemctl USER daemon-reload
    systemctl USER start quadlet-${RUNTIME##*/}.service
    systemctl USER show quadlet-${RUNTIME##*/}.service -p ActiveState -p SubState -p Type -p Result -p Delegate => ActiveState=active
    podman inspect quadlet --format '{{.State.Status}} {{.HostConfig.CgroupMode}}' => running
    # Its cgroup is a part of the service's own.
    cat /proc/$(podman inspect quadlet --format '{{.State.Pid}}')/cgroup | grep -o '.service/libpod-payload-.*' => libpod-payload
    podman exec quadlet cat /sys/fs/cgroup/memory.max => 50331648
    test $(systemctl USER show quadlet-${RUNTIME##*/}.service -p MainPID --value) = $(cat $(podman inspect quadlet --format '{{.ConmonPidFile}}'))
    podman kill quadlet
    until_ok sh -c 'systemctl USER show quadlet-${RUNTIME##*/}.service -p ActiveState --value | grep failed' => failed
    systemctl USER start quadlet-${RUNTIME##*/}.service
    systemctl USER stop quadlet-${RUNTIME##*/}.service
    systemctl USER show quadlet-${RUNTIME##*/}.service -p ActiveState -p Result => Result=success
    !125 podman inspect quadlet --format '{{.State.Status}}' 2>/dev/null
    podman create --name unit base sh -c 'trap "exit 0" TERM; while :; do sleep 0.3; done' >/dev/null
    podman generate systemd --new --name unit 2>/dev/null | sed "s|^\[Service\]|&\nEnvironment=CONTAINERS_CONF=$CONTAINERS_CONF|; s|network-online.target||" >UNITS/unit-${RUNTIME##*/}.service
    podman rm unit
    grep -c -e ExecStart=/usr/bin/podman -e --sdnotify=conmon UNITS/unit-${RUNTIME##*/}.service => 2
    systemctl USER daemon-reload
    systemctl USER start unit-${RUNTIME##*/}.service
    systemctl USER show unit-${RUNTIME##*/}.service -p ActiveState -p SubState => ActiveState=active
    podman exec unit echo inside => inside
    systemctl USER stop unit-${RUNTIME##*/}.service
    systemctl USER show unit-${RUNTIME##*/}.service -p ActiveState -p Result => Result=success
    rm UNITS/*-${RUNTIME##*/}.service
    systemctl USER daemon-reload
    "#;

/// Health is looked after by a timer, whose podman knows neither options nor environment of the one that
/// made the container: this is in the place where all keep theirs.
const HEALTH: &str = r#"
    PODMAN load -q -i $D/image.tar => localhost/base
    PODMAN run -d --network none --name ${RUNTIME##*/} --health-cmd 'test -e /tmp/well' --health-interval 1s --health-retries 1 base sh -c 'while :; do sleep 0.3; done'
    until_ok sh -c 'PODMAN inspect ${RUNTIME##*/} --format "{{.State.Health.Status}}" | grep unhealthy' => unhealthy
    PODMAN exec ${RUNTIME##*/} touch /tmp/well
    until_ok sh -c 'PODMAN inspect ${RUNTIME##*/} --format "{{.State.Health.Status}}" | grep ^healthy' => healthy
    PODMAN rm -f -t 0 ${RUNTIME##*/}
    "#;

/// The command without what this test keeps apart.
const PODMAN: &str = r#"env -u CONTAINERS_CONF HOME="$(getent passwd $(id -u) | cut -d: -f6)" /usr/bin/podman --runtime $RUNTIME"#;

#[test]
fn systemd_runs_root_s_containers_of_podman() {
    let _turn = turn();
    let machines = need!(Machine::of_root());
    run(&machines, "", "/run/systemd/system");
    same(&machines, LEFT);
}

#[test]
fn systemd_runs_a_user_s_containers_of_podman() {
    run(&need!(Machine::of_user()), "--user", "$XDG_RUNTIME_DIR/systemd/user");
}

fn run(machines: &[Machine; 2], user: &str, units: &str) {
    for machine in machines {
        let quadlet = QUADLET.replace("$D", machine.path().to_str().unwrap());
        fs::write(machine.path().join("work/quadlet.container"), quadlet).unwrap();
    }
    same(machines, &SCENARIO.replace("USER", user).replace("UNITS", units));
    same(machines, &HEALTH.replace("PODMAN", PODMAN));
}
