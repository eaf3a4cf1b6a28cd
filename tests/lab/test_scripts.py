"""Scripts on a simulated host: one simple command a line, with pauses that end on their own."""

from __future__ import annotations

from lib.lab.programs import scripts
from tests.lab.simulated import Simulated

SCRIPT = """# a comment
set -e
exec > /dev/null 2>&1
mv -f /etc/s/ready /etc/s/armed
sleep 100    # the client has this long
mv /etc/s/armed /etc/s/fired
rm -rf /etc/s
"""
Lines = list[tuple[list[str], int]]


def settle(lab: Simulated, now: float, ran: Lines) -> float | None:
    """Run what is due; put each line that ran, with its exit code, into `ran`."""
    return scripts.settle(lab.world, lab.hosts, lambda host, script, argv, out: ran.append((argv, out.exit)), now)


def armed(lab: Simulated, ran: Lines) -> float:
    lab.text("mkdir /etc/s")
    lab.text("tee /etc/s/ready")
    lab.hosts["node1"].files.write("/etc/s/rollback.sh", SCRIPT.encode())
    began = lab.run("nohup sh /etc/s/rollback.sh")
    assert began.script
    due = settle(lab, 1000.0, ran)
    assert due == 1100.0
    assert lab.run("test -e /etc/s/armed").exit == 0
    return due


def test_a_script_runs_to_its_pause_and_goes_on_when_that_is_over(simulated: Simulated) -> None:
    ran: Lines = []
    due = armed(simulated, ran)
    assert settle(simulated, due - 1, ran) == due
    assert simulated.run("test -e /etc/s").exit == 0
    assert settle(simulated, due, ran) is None
    assert simulated.run("test -e /etc/s").exit == 1
    assert [argv[0] for argv, _ in ran] == ["mv", "sleep", "mv", "rm"]


def test_a_script_that_says_set_e_ends_at_the_first_failure(simulated: Simulated) -> None:
    ran: Lines = []
    due = armed(simulated, ran)
    simulated.run("mv /etc/s/armed /etc/s/proven")
    settle(simulated, due, ran)
    assert ran[-1] == (["mv", "/etc/s/armed", "/etc/s/fired"], 1)
    assert simulated.run("test -e /etc/s/proven").exit == 0


MORE_THAN_SIMPLE = [
    "true; rm -rf /", "rm $HOME", "true | tee /x", "echo `id`", "A=b", "if true", "echo x > /x", "rm *", 'rm "$A"',
    "rm ~/x", "sleep 1 &", "'unclosed", "cd /", "(true)", "rm {a,b}", "exec rm x", "A=b rm x",
]  # fmt: skip


def test_a_script_with_more_than_simple_commands_is_refused_before_its_first_line(simulated: Simulated) -> None:
    for line in MORE_THAN_SIMPLE:
        simulated.hosts["node1"].files.write("/root/x.sh", f"touch /root/ran\n{line}\n".encode())
        output = simulated.run("sh /root/x.sh")
        assert (output.exit, output.stderr.startswith("sh: 2: "), output.script) == (2, True, ""), line
    assert settle(simulated, 1.0, []) is None
    assert simulated.run("test -e /root/ran").exit == 1
