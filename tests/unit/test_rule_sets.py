# SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
"""The rule sets in conf/rules, against cgroup paths as the systems make them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from collectd_cgacct.rules import RuleSet
from collectd_cgacct.rulesfile import parse_rules_file

RULES = Path(__file__).parents[2] / "conf" / "rules"

CID = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
SHORT = "4f797c539e6c"
PID = "ddf44d54b520f0b4469fcd01c3155ca49e6911dc2175471eb3a7b789187a7a89"
BUILD = "2k9yq1gl6bz0m8vhr3wxj4tnc"
UID = "2fc932ce-fdcc-454b-97bd-aadfdeb4c340"
UID_ = UID.replace("-", "_")
STATIC = "8daa50c3a64c9ff60bb9eab7b44b56fd"
USER = "user.slice/user-1000.slice/user@1000.service"
CONTAINERD = "system.slice/containerd.service"
KUBE = "kubepods.slice/kubepods"
BURST = f"{KUBE}-burstable.slice/kubepods-burstable-pod{UID_}.slice"

NAMES: dict[str, dict[str, str | None]] = {
    "systemd-services": {
        "system.slice/nginx.service": "nginx",
        "system.slice/systemd-networkd.service": "systemd-networkd",
        "system.slice/docker.service": "docker",
        "system.slice/system-getty.slice/getty@tty1.service": "getty",
        r"system.slice/system-serial\x2dgetty.slice/serial-getty@ttyS0.service": "serial-getty",
        "system.slice/worker@1.service": "worker",
        "system.slice/system-worker.slice/worker@40.service": "worker",
        "system.slice/worker.service": "worker",
        "system.slice/system-autossh.slice/autossh@me@example.com.service": "autossh",
        r"system.slice/system-openvpn\x2dserver.slice/openvpn-server@home.service": (
            "openvpn-server"
        ),
        "system.slice/sshd@12-10.0.0.1:22-10.0.0.2:5123.service": "sshd",
        "system.slice/system-modprobe.slice/helper.service": "helper",
        "web.slice/shop.service": "shop",
        "system.slice/run-u123.service": "systemd-run",
        "system.slice/run-u6-s2.service": "systemd-run",
        "system.slice/run-p4711-i4712.service": "systemd-run",
        "system.slice/run-r0123456789abcdef0123456789abcdef.service": "systemd-run",
        "system.slice/run-parts.service": "run-parts",
        "machine.slice/systemd-nspawn@mail.service": "machine-mail",
        "": None,
        "init.scope": None,
        "system.slice": None,
        "system.slice/system-getty.slice": None,
        "system.slice/cups.socket": None,
        "system.slice/boot.mount": None,
        "system.slice/systemd-udevd.service/udev": None,
        "machine.slice/systemd-nspawn@mail.service/payload": None,
        "machine.slice/systemd-nspawn@mail.service/payload/system.slice/ssh.service": None,
        "lxc.payload.mail/system.slice/nginx.service": None,
        f"docker/{CID}/system.slice/nginx.service": None,
        USER: None,
        f"{USER}/app.slice/syncthing.service": None,
        "user.slice/user-1000.slice/user-runtime-dir@1000.service": None,
    },
    "users": {
        "user.slice/user-1000.slice": "user-1000",
        "user.slice/user-0.slice": "user-0",
        "user.slice/user-0.slice/session-17.scope": "user-0-sessions",
        "user.slice/user-1000.slice/session-3.scope": "user-1000-sessions",
        "user.slice/user-1000.slice/session-c1.scope": "user-1000-sessions",
        USER: "user-1000-services",
        "user.slice": None,
        "user.slice/user-1000.slice/user-runtime-dir@1000.service": None,
        f"{USER}/init.scope": None,
        f"{USER}/app.slice/syncthing.service": None,
        f"{USER}/session.slice/pipewire.service": None,
        "lxc.payload.mail/user.slice/user-1000.slice": None,
    },
    "docker": {
        f"system.slice/docker-{CID}.scope": f"docker-{SHORT}",
        f"docker/{CID}": f"docker-{SHORT}",
        f"docker/buildx/{CID}": f"docker-{SHORT}",
        f"{USER}/user.slice/docker-{CID}.scope": f"docker-{SHORT}",
        f"system.slice/docker-{BUILD}.scope": "docker-build",
        f"docker/buildkit/{BUILD}": "docker-build",
        "docker": None,
        "docker/buildx": None,
        "docker/buildkit": None,
        "system.slice/docker.service": None,
        "system.slice/docker.socket": None,
        f"system.slice/docker-{CID}.scope/init.scope": None,
        f"system.slice/docker-{CID}.scope/system.slice/docker-{CID}.scope": None,
        f"docker/{CID}/docker/{CID}": None,
        f"docker/{CID}/kubelet/kubepods": None,
        f"{USER}/app.slice/docker.service": None,
        f"{BURST}/docker-{CID}.scope": None,
    },
    "podman": {
        f"machine.slice/libpod-{CID}.scope": f"podman-{SHORT}",
        f"machine.slice/machine-libpod_pod_{PID}.slice": "podman-pod-ddf44d54b520",
        f"machine.slice/machine-libpod_pod_{PID}.slice/libpod-{CID}.scope": f"podman-{SHORT}",
        f"system.slice/web.service/libpod-payload-{CID}": "podman-web",
        f"system.slice/web@2.service/libpod-payload-{CID}": "podman-web@2",
        f"srv.slice/container-homeassistant.service/libpod-payload-{CID}": (
            "podman-container-homeassistant"
        ),
        f"{USER}/user.slice/libpod-{CID}.scope": f"podman-{SHORT}",
        f"{USER}/user.slice/user-libpod_pod_{PID}.slice": "podman-pod-ddf44d54b520",
        f"{USER}/user.slice/user-libpod_pod_{PID}.slice/libpod-{CID}.scope": f"podman-{SHORT}",
        f"{USER}/app.slice/web.service/libpod-payload-{CID}": "podman-1000-web",
        f"libpod_parent/libpod-{CID}": f"podman-{SHORT}",
        f"libpod_parent/{PID}": "podman-pod-ddf44d54b520",
        f"libpod_parent/{PID}/libpod-{CID}": f"podman-{SHORT}",
        "machine.slice": None,
        "libpod_parent": None,
        "libpod_parent/conmon": None,
        f"machine.slice/libpod-conmon-{CID}.scope": None,
        f"machine.slice/libpod-{CID}.scope/container": None,
        f"machine.slice/machine-libpod_pod_{PID}.slice/libpod-conmon-{CID}.scope": None,
        "system.slice/web.service": None,
        "system.slice/web.service/runtime": None,
        f"system.slice/web.service/libpod-payload-{CID}/init.scope": None,
        f"{USER}/user.slice/libpod-conmon-{CID}.scope": None,
        f"{USER}/user.slice/libpod-{CID}.scope/container": None,
        f"{USER}/user.slice/podman-6696.scope": None,
        f"{USER}/user.slice/podman-pause-1a2b3c4d.scope": None,
    },
    "kubernetes": {
        "kubepods.slice": "k8s",
        f"{KUBE}-burstable.slice": "k8s-burstable",
        f"{KUBE}-besteffort.slice": "k8s-besteffort",
        BURST: f"k8s-burstable-pod-{UID}",
        f"{KUBE}-besteffort.slice/kubepods-besteffort-pod{UID_}.slice": f"k8s-besteffort-pod-{UID}",
        f"{KUBE}-burstable.slice/kubepods-burstable-pod{STATIC}.slice": (
            f"k8s-burstable-pod-{STATIC}"
        ),
        f"{KUBE}-burstable.slice/kubepods-burstable-pod{STATIC}.slice/crio-{CID}.scope": (
            f"k8s-container-{SHORT}"
        ),
        f"{KUBE}-besteffort.slice/kubepods-besteffort-pod{UID_}.slice/crio-{CID}.scope": (
            f"k8s-container-{SHORT}"
        ),
        f"{KUBE}-pod{UID_}.slice": f"k8s-guaranteed-pod-{UID}",
        f"{KUBE}-pod{STATIC}.slice": f"k8s-guaranteed-pod-{STATIC}",
        f"{BURST}/cri-containerd-{CID}.scope": f"k8s-container-{SHORT}",
        f"{BURST}/crio-{CID}.scope": f"k8s-container-{SHORT}",
        f"{BURST}/docker-{CID}.scope": f"k8s-container-{SHORT}",
        f"{KUBE}-pod{UID_}.slice/cri-containerd-{CID}.scope": f"k8s-container-{SHORT}",
        f"{KUBE}-pod{STATIC}.slice/crio-{CID}.scope": f"k8s-container-{SHORT}",
        f"{CONTAINERD}/kubepods-burstable-pod{UID_}.slice:cri-containerd:{CID}": (
            f"k8s-container-{SHORT}"
        ),
        f"{CONTAINERD}/kubepods-pod{UID_}.slice:cri-containerd:{CID}": (f"k8s-container-{SHORT}"),
        "kubepods": "k8s",
        "kubepods/burstable": "k8s-burstable",
        "kubepods/besteffort": "k8s-besteffort",
        f"kubepods/burstable/pod{UID}": f"k8s-burstable-pod-{UID}",
        f"kubepods/besteffort/pod{STATIC}": f"k8s-besteffort-pod-{STATIC}",
        f"kubepods/pod{UID}": f"k8s-guaranteed-pod-{UID}",
        f"kubepods/burstable/pod{UID}/{CID}": f"k8s-container-{SHORT}",
        f"kubepods/besteffort/pod{STATIC}/crio-{CID}": f"k8s-container-{SHORT}",
        f"kubepods/pod{UID}/{CID}": f"k8s-container-{SHORT}",
        f"{BURST}/crio-conmon-{CID}.scope": None,
        f"{BURST}/crio-{CID}.scope/container": None,
        f"{BURST}/cri-containerd-{CID}.scope/init.scope": None,
        f"kubepods/burstable/pod{UID}/crio-conmon-{CID}": None,
        f"kubepods/burstable/pod{UID}/{CID}/init.scope": None,
        "system.slice/kubelet.service": None,
        CONTAINERD: None,
        "runtime.slice/containerd.service": None,
        f"system.slice/docker-{CID}.scope": None,
    },
    "lxc": {
        "lxc.payload.mail": "lxc-mail",
        "lxc.payload.mail-1": "lxc-mail-1",
        "lxc.payload.shop_web": "lxc-shop_web",
        "lxc.payload/mail": "lxc-mail",
        "lxc/100": "lxc-100",
        f"{USER}/lxc.payload.dev": "lxc-1000-dev",
        f"{USER}/app.slice/run-r0123456789abcdef.scope/lxc.payload.dev": "lxc-1000-dev",
        "user.slice/user-1000.slice/session-3.scope/lxc.payload.dev": "lxc-1000-dev",
        "lxc": None,
        "lxc.payload": None,
        "lxc.pivot": None,
        "lxc.monitor": None,
        "lxc.monitor.mail": None,
        "lxc.monitor/mail": None,
        "lxc/100/ns": None,
        "lxc/100/ns/init.scope": None,
        "lxc.payload.mail/.lxc": None,
        "lxc.payload.mail/init.scope": None,
        "lxc.payload.mail/system.slice/nginx.service": None,
        "lxc.payload.mail/lxc.payload.inner": None,
        f"{USER}/lxc.monitor.dev": None,
        "system.slice/lxc@mail.service": None,
    },
    "libvirt": {
        r"machine.slice/machine-qemu\x2d1\x2dmail.scope": "vm-mail",
        r"machine.slice/machine-qemu\x2d11\x2dinstance\x2d00000042.scope": (
            r"vm-instance\x2d00000042"
        ),
        r"machine.slice/machine-qemu\x2d6\x2dubuntu22.04.scope": "vm-ubuntu22.04",
        r"machine.slice/machine-prod.slice/machine-qemu\x2d1\x2dmail.scope": "vm-mail",
        r"machine.slice/machine-lxc\x2d1268\x2dsl.scope": "libvirt-lxc-sl",
        "machine/qemu-1-mail.libvirt-qemu": "vm-mail",
        "machine/qemu-12-web-01.libvirt-qemu": "vm-web-01",
        "machine/prod.partition/qemu-1-mail.libvirt-qemu": "vm-mail",
        "machine/lxc-1268-sl.libvirt-lxc": "libvirt-lxc-sl",
        "machine": None,
        "machine/prod.partition": None,
        "machine/qemu-1-mail.libvirt-qemu/emulator": None,
        r"machine.slice/machine-qemu\x2d1\x2dmail.scope/libvirt": None,
        r"machine.slice/machine-qemu\x2d1\x2dmail.scope/libvirt/emulator": None,
        r"machine.slice/machine-qemu\x2d1\x2dmail.scope/libvirt/vcpu0": None,
        f"machine.slice/libpod-{CID}.scope": None,
        "machine.slice/machine-mail.scope": None,
        "system.slice/libvirtd.service": None,
        "system.slice/virtlogd.service": None,
    },
}
CASES = [(name, path, raw) for name, paths in NAMES.items() for path, raw in paths.items()]


@cache
def rule_set(name: str) -> RuleSet:
    found = parse_rules_file((RULES / f"{name}.yaml").read_bytes(), name, "/sys/fs/cgroup")
    assert found.problems == ()
    return RuleSet(found.rules, found.excludes)


def test_each_rule_set_has_a_table_here() -> None:
    assert {path.stem for path in RULES.glob("*")} == set(NAMES)


@pytest.mark.parametrize(("name", "path", "raw"), CASES)
def test_a_path_gets_its_name(name: str, path: str, raw: str | None) -> None:
    assert rule_set(name).raw_name(path) == raw


@pytest.mark.parametrize("name", NAMES)
def test_what_has_a_name_is_found_by_walking_from_the_root(name: str) -> None:
    for path in (path for path, raw in NAMES[name].items() if raw is not None):
        parts = path.split("/")
        parents = ["/".join(parts[:depth]) for depth in range(len(parts))]
        assert all(rule_set(name).may_match_below(parent) for parent in parents)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_watched_below_the_last_name(name: str) -> None:
    named = [path for path, raw in NAMES[name].items() if raw is not None]
    leaves = [path for path in named if not any(one.startswith(f"{path}/") for one in named)]
    assert [path for path in leaves if rule_set(name).may_match_below(path)] == []


def test_no_path_has_a_name_in_two_rule_sets_so_their_order_is_free() -> None:
    for _, path, _ in CASES:
        owners = {name for name in NAMES if rule_set(name).raw_name(path) is not None}
        assert len(owners) <= 1, path


@pytest.mark.parametrize("name", NAMES)
def test_each_rule_is_needed_for_a_path_of_the_table(name: str) -> None:
    used = {rule_set(name).decide(path).rule for path in NAMES[name]}
    assert {rule.source for rule in rule_set(name).rules if rule not in used} == set()


@pytest.mark.parametrize("name", NAMES)
def test_a_rule_set_says_what_it_does_which_names_it_makes_and_what_it_leaves_out(
    name: str,
) -> None:
    header = (RULES / f"{name}.yaml").read_text("utf-8").split("\ncgroups:")[0].splitlines()
    assert all(line.startswith("#") for line in header if line)
    assert any(line.startswith("# Names") for line in header)
    assert any(line.startswith("# Not accounted: ") for line in header)
