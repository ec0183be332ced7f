# What every step of a scenario may use.

# Waits until the command succeeds, for at most $WAIT or 20 seconds.
until_ok() {
    end=$(($(date +%s) + ${WAIT:-20}))
    until "$@"; do
        [ "$(date +%s)" -lt $end ] || { echo "waited in vain: $*" >&2; return 1; }
        sleep 0.1
    done
}

# Waits until a search comes to nothing, and prints what it finds otherwise: for find(1). Engines tidy
# up behind their answers.
none_left() {
    until_ok sh -c 'test -z "$(find "$@" 2>/dev/null)"' find "$@" && return
    find "$@"
    return 1
}

# Starts a daemon: NAME COMMAND…. Its process ID and log are in $D/NAME.pid and $D/NAME.log.
daemon() {
    name=$1
    shift
    setsid "$@" >>"$D/$name.log" 2>&1 &
    echo $! >"$D/$name.pid"
}

# Ends a daemon with a signal and waits until it is gone: NAME SIGNAL.
end() {
    pid=$(cat "$D/$1.pid")
    kill -s "$2" "$pid"
    until_ok test ! -e "/proc/$pid/exe"
}

# Calls containerd's CRI: METHOD REQUEST [FIELD…].
cri() { /usr/bin/python3 "$D/cri.py" /run/containerd/containerd.sock "$@"; }

# Executes a command in the container whose ID is in a file: FILE COMMAND…. Prints what it printed.
run() {
    id=$(cat "$1")
    shift
    words='import json, sys; print(json.dumps(dict(id=sys.argv[1], cmd=sys.argv[2:])))'
    cri ExecSync "$(/usr/bin/python3 -c "$words" "$id" "$@")" stdout
}
