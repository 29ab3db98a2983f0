import pytest

from kdjax.core import InputError, check_memory, memory_available

MIB = 2**20


def place(root, **files):
    for name, text in files.items():
        file = root / name.replace("__", "/").replace("_of_", ".")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def machine(tmp_path):
    """A machine with 100 MiB free, files in memory included."""
    place(tmp_path, proc__meminfo=f"MemTotal: 400000 kB\nMemFree: 10 kB\nMemAvailable: {100 * 1024} kB\n")
    return tmp_path


def test_what_the_machine_can_free_counts(machine):
    assert memory_available(machine) == 100 * MIB


@pytest.mark.parametrize("there", [True, False])
def test_a_container_limits_it(machine, there):
    """As seen from the host, and from inside where the group's own path is not there."""
    group = "sys__fs__cgroup__" + ("job__" if there else "")
    place(machine, proc__self__cgroup="1:name=systemd:/\n0::/job\n", **{f"{group}memory_of_max": f"{30 * MIB}\n"})
    place(machine, **{f"{group}memory_of_current": f"{25 * MIB}\n", f"{group}memory_of_stat": f"inactive_file {4 * MIB}\n"})
    assert memory_available(machine) == 9 * MIB
    place(machine, **{f"{group}memory_of_max": "max\n"})
    assert memory_available(machine) == 100 * MIB


def test_the_narrowest_group_above_counts_and_the_first_version_too(machine):
    above = "sys__fs__cgroup__memory__"
    place(machine, proc__self__cgroup="4:cpu,memory:/a/b\n")
    for group, limit in (("", 2**63 - 4096), ("a__", 20 * MIB), ("a__b__", 50 * MIB)):
        values = {"memory_of_limit_in_bytes": limit, "memory_of_usage_in_bytes": 5 * MIB}
        place(machine, **{above + group + name: f"{value}\n" for name, value in values.items()})
        place(machine, **{f"{above}{group}memory_of_stat": f"inactive_file 1\ntotal_active_file {MIB}\n"})
    assert memory_available(machine) == 16 * MIB


def test_the_limit_of_the_shell_counts(machine, monkeypatch):
    place(machine, proc__self__status="VmPeak: 9 kB\nVmSize: 1024 kB\n")
    monkeypatch.setattr("resource.getrlimit", lambda _: (3 * MIB, 3 * MIB))
    assert memory_available(machine) == 2 * MIB


def test_a_system_that_tells_nothing_has_its_memory_free(tmp_path):
    assert memory_available(tmp_path) > 2**28


def test_refusal(monkeypatch):
    monkeypatch.setattr("kdjax.core.memory.memory_available", lambda: 3 * 2**30)
    check_memory("seeds=3", 3 * 2**30, "fewer seeds")
    line = r"^seeds=100000 would take 1,500 TiB of memory, 3.0 GiB are free here: expected fewer seeds$"
    with pytest.raises(InputError, match=line):
        check_memory("seeds=100000", 1500 * 2**40, "fewer seeds")
