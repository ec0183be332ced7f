"""Calls the container runtime interface as a kubelet does: `cri.py SOCKET METHOD REQUEST [FIELD…]`.

REQUEST is JSON with the names of the fields below; what FIELD leads to in the answer is printed, or
nothing. There is no generated code: a message is a few numbered fields (protobuf's encoding), and
the numbers are those of runtime.v1.
"""

import json
import sys

import grpc

NAMESPACES = {"network": (1, None), "pid": (2, None), "ipc": (3, None)}
SECURITY = {
    "capabilities": (1, {"add": (1, None), "drop": (2, None)}),
    "privileged": (2, None),
    "namespaces": (3, NAMESPACES),
    "user": (5, {"value": (1, None)}),
    "readonly_rootfs": (7, None),
    "no_new_privs": (11, None),
    "masked_paths": (13, None),
}
RESOURCES = {
    "cpu_period": (1, None),
    "cpu_quota": (2, None),
    "cpu_shares": (3, None),
    "memory": (4, None),
    "oom_score_adj": (5, None),
}
POD = {
    "metadata": (1, {"name": (1, None), "uid": (2, None), "namespace": (3, None)}),
    "hostname": (2, None),
    "log_directory": (3, None),
    "linux": (
        8,
        {
            "cgroup_parent": (1, None),
            "security": (2, {"namespaces": (1, NAMESPACES)}),
            "sysctls": (3, {"key": (1, None), "value": (2, None)}),
        },
    ),
}
CONTAINER = {
    "metadata": (1, {"name": (1, None)}),
    "image": (2, {"image": (1, None)}),
    "command": (3, None),
    "args": (4, None),
    "working_dir": (5, None),
    "envs": (6, {"key": (1, None), "value": (2, None)}),
    "mounts": (7, {"container_path": (1, None), "host_path": (2, None), "readonly": (3, None)}),
    "log_path": (11, None),
    "linux": (15, {"resources": (1, RESOURCES), "security": (2, SECURITY)}),
}
ONE = {"id": (1, None), "timeout": (2, None)}
STATUS = {"status": (1, {"id": (1, None), "state": (3, None), "exit_code": (7, None), "reason": (10, None)})}
METHODS = {
    "RunPodSandbox": ({"config": (1, POD), "handler": (2, None)}, {"id": (1, None)}),
    "StopPodSandbox": (ONE, {}),
    "RemovePodSandbox": (ONE, {}),
    "PodSandboxStatus": (ONE, {"status": (1, {"state": (3, None), "network": (5, {"ip": (1, None)})})}),
    "CreateContainer": (
        {"pod": (1, None), "config": (2, CONTAINER), "pod_config": (3, POD)},
        {"id": (1, None)},
    ),
    "StartContainer": (ONE, {}),
    "StopContainer": (ONE, {}),
    "RemoveContainer": (ONE, {}),
    "ContainerStatus": (ONE, STATUS),
    "UpdateContainerResources": ({"id": (1, None), "linux": (2, RESOURCES)}, {}),
    "ExecSync": (
        {"id": (1, None), "cmd": (2, None), "timeout": (3, None)},
        {"stdout": (1, None), "stderr": (2, None), "exit_code": (3, None)},
    ),
    "ContainerStats": (
        {"id": (1, None)},
        {
            "stats": (
                1,
                {
                    "cpu": (2, {"usage": (2, {"value": (1, None)})}),
                    "memory": (3, {"working_set": (2, {"value": (1, None)})}),
                },
            )
        },
    ),
    "Version": ({}, {"runtime": (2, None)}),
}


def varint(number):
    number &= (1 << 64) - 1
    text = b""
    while number > 127:
        text += bytes([number & 127 | 128])
        number >>= 7
    return text + bytes([number])


def encode(message, fields):
    text = b""
    for name, value in message.items():
        number, inner = fields[name]
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, int):
                text += varint(number << 3) + varint(one)
                continue
            part = encode(one, inner) if isinstance(one, dict) else one.encode()
            text += varint(number << 3 | 2) + varint(len(part)) + part
    return text


def decode(text):
    """The fields of a message by number; an inner message is still text."""
    at = 0

    def read():
        nonlocal at
        number = shift = 0
        while True:
            number |= (text[at] & 127) << shift
            shift += 7
            at += 1
            if text[at - 1] < 128:
                return number

    found = {}
    while at < len(text):
        key = read()
        if key & 7 == 0:
            found[key >> 3] = read()
        else:
            length = read()
            found[key >> 3] = text[at : at + length]
            at += length
    return found


def main():
    socket, method, request, *path = sys.argv[1:]
    asked, answered = METHODS[method]
    with grpc.insecure_channel("unix://" + socket) as channel:
        call = channel.unary_unary("/runtime.v1.RuntimeService/" + method)
        try:
            answer = call(encode(json.loads(request), asked), timeout=50)
        except grpc.RpcError as error:
            sys.exit(f"{error.code().name}: {error.details()}")
    for name in path:
        number, answered = answered[name]
        answer = decode(answer).get(number, 0 if answered is None else b"")
    if path:
        print(answer.decode() if isinstance(answer, bytes) else answer)


main()
