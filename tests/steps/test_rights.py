"""Each privilege that our roles need is taken away, one at a time: that one is told, where, and what gives it back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lib.clients import waiting
from lib.clients.pve_session import Credential
from lib.errors import GroundworkError, Problem, StepError
from lib.facts.access import THROUGHOUT
from lib.lab.pve import rights as simulated_rights
from lib.secrets import Secret
from lib.steps import rights
from lib.steps.access import PackerUser, Wanted
from lib.steps.session import Session
from lib.steps.validation import Validation
from tests.lab.simulated import CLUSTER, Simulated
from tests.steps.direct import InTurn, session

VERSIONS = {"8.4": (8, 4), "9.2": (9, 2)}
TEMPLATE = f"/vms/{CLUSTER.images.base.vmid}"
POOL = f"/pool/{CLUSTER.proxmox.pool}"
USER, ROLE = CLUSTER.packer.user, CLUSTER.packer.role
ADMIN = "ann@pve"


class World:
    """A cluster with Packer's access made by the step itself, and a template in its pool."""

    def __init__(self, folder: Path, version: str) -> None:
        self.lab = Simulated(folder, version)
        self.version = VERSIONS[version]
        self.base = folder
        self.root = self.token("root@pam", "all", privsep=0)
        self.packer = self.made()

    def ask(self, method: str, path: str, /, **params: Any) -> Any:
        given = {name: str(value) for name, value in params.items()}
        answer = self.lab.api.call("root@pam", method, path, given, "node1")
        assert answer.status == 200, answer
        return answer.body["data"] if answer.body else None

    def token(self, user: str, name: str, **params: Any) -> Credential:
        value = self.ask("POST", f"/access/users/{user}/token/{name}", **params)["value"]
        return Credential(user, Secret(value), name)

    def at(self, who: Credential) -> Session:
        return session(self.lab, who, self.base)

    def made(self) -> Credential:
        step, at = PackerUser(CLUSTER, True), self.at(self.root)
        credential = step.apply(at, step.observe(at, False), Wanted(self.version))
        assert credential is not None
        self.ask("POST", "/nodes/node1/qemu", vmid=CLUSTER.images.base.vmid, pool=CLUSTER.proxmox.pool)
        (self.base / "packer").mkdir()
        lines = f"PROXMOX_USERNAME={credential.identity}\nPROXMOX_TOKEN={credential.secret.reveal()}\n"
        (self.base / "packer" / ".env").write_text(lines)
        return credential

    def examined(self) -> list[Problem]:
        """Return what `invoke doctor` finds wrong with Packer's access."""
        step = PackerUser(CLUSTER, False, prove=True)
        return list(step.problems(step.observe(self.at(self.root), False), Wanted(self.version)))

    def refreshed(self) -> Problem | None:
        """Return what `invoke foundation` finds wrong, having mended what it can."""
        step, at = PackerUser(CLUSTER, True), self.at(self.root)
        seen = step.observe(at, False)
        for problem in step.problems(seen, Wanted(self.version)):
            return problem
        try:
            step.apply(at, seen, Wanted(self.version))
        except GroundworkError as error:
            return error.report
        return None

    def known(self) -> set[str]:
        return set(self.ask("GET", "/access/roles/Administrator"))


@pytest.fixture(scope="module", params=VERSIONS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiting, "ThreadPoolExecutor", InTurn)
        made = World(tmp_path_factory.mktemp("rights"), request.param)
        assert made.examined() == []
        yield made
        assert made.examined() == []  # each test gives back what it took
        made.lab.world.close()


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_a_role_that_lacks_a_privilege(world: World) -> None:
    """For every privilege: that one on its paths, the command that gives it back, and no other."""
    needed = {path: privileges & world.known() for path, privileges in rights.packer(CLUSTER).items()}
    whole = sorted(frozenset().union(*needed.values()))
    assert len(whole) == 18
    for privilege in whole:
        world.ask("PUT", f"/access/roles/{ROLE}", privs=",".join(set(whole) - {privilege}))
        problem = only(world.examined())
        paths = [path for path, privileges in needed.items() if privilege in privileges]
        assert problem.problem == "; ".join(f"lacks {privilege} on {path}" for path in paths)
        assert problem.fix == f"pveum role modify {ROLE} --append 1 --privs {privilege}"
        world.lab.run(problem.fix)
        assert world.examined() == []
    world.ask("PUT", f"/access/roles/{ROLE}", privs=",".join(set(whole) - {whole[0]}))
    assert world.refreshed() is None  # a role of ours is mended


@pytest.mark.parametrize("path", rights.packer(CLUSTER))
@pytest.mark.parametrize("whose", ["user", "token"])
def test_somebody_elses_entry_takes_everything_on_a_path(world: World, path: str, whose: str) -> None:
    who = world.packer.identity if whose == "token" else USER
    world.ask("PUT", "/access/acl", path=path, roles="NoAccess", **{f"{whose}s": who})
    names = ", ".join(sorted(rights.packer(CLUSTER)[path] & world.known()))
    fix = f"pveum acl delete {path} --{whose}s '{who}' --roles NoAccess"
    problem = only(world.examined())
    assert (problem.problem, problem.fix) == (f"lacks {names} on {path}", fix)
    if whose == "user":  # a token of ours is remade with ACLs of its own
        assert world.refreshed() == Problem(f"token {USER}!{CLUSTER.packer.token}-b", problem.problem, fix)
    world.lab.text(fix)


@pytest.mark.parametrize("path", [TEMPLATE, "/vms", "/"])
def test_the_pools_rights_do_not_reach_a_guest_under_no_access(world: World, path: str) -> None:
    world.ask("PUT", "/access/acl", path=path, roles="NoAccess", users=USER)
    names = ", ".join(sorted(rights.packer(CLUSTER)[POOL] & world.known()))
    problem = only(world.examined())
    assert problem.problem == f"lacks {names} on {TEMPLATE}"
    assert problem.fix == f"pveum acl delete {path} --users '{USER}' --roles NoAccess"
    told = world.refreshed()
    assert told is not None
    assert (told.problem, told.fix) == (problem.problem, problem.fix)
    world.lab.text(problem.fix)


def test_a_token_whose_entry_was_taken_away(world: World) -> None:
    entry = {"path": POOL, "roles": ROLE, "tokens": world.packer.identity}
    world.ask("PUT", "/access/acl", delete=1, **entry)
    problem = only(world.examined())
    assert problem.problem.endswith(f" on {POOL}")
    assert problem.fix == f"pveum acl modify {POOL} --users {USER} --tokens '{world.packer.identity}' --roles {ROLE}"
    world.lab.text(problem.fix)


def test_what_somebody_gave_beside_it_is_told_and_left(world: World) -> None:
    step = PackerUser(CLUSTER, False)
    assert list(step.remarks(step.observe(world.at(world.root), False))) == []
    world.ask("PUT", "/access/acl", path="/", roles="PVEAdmin", users=USER)
    (told,) = step.remarks(step.observe(world.at(world.root), False))
    fix = f"pveum acl delete / --users '{USER}' --roles PVEAdmin"
    assert told == f"{USER} also has PVEAdmin on /; to take it away: {fix}"
    world.lab.text(fix)


@pytest.mark.parametrize("off", [{"enable": 0}, {"expire": 1}])
def test_a_user_who_was_switched_off(world: World, off: dict[str, int]) -> None:
    world.ask("PUT", f"/access/users/{USER}", **off)
    problem = only(world.examined())
    assert problem.subject == f"user {USER}"
    world.lab.text(problem.fix)
    assert world.examined() == []
    world.ask("PUT", f"/access/users/{USER}", **off)
    assert world.refreshed() is None  # a user of ours is mended


def test_a_proxmox_that_knows_less(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    less = simulated_rights._BUILT_IN | {"Administrator": simulated_rights._ALL.replace("SDN.Use", "")}
    with monkeypatch.context() as patch:
        patch.setattr(simulated_rights, "_BUILT_IN", less)
        problem = only(world.examined())
        assert (problem.subject, problem.problem.partition(" (")[0]) == ("Proxmox VE", "knows no privilege SDN.Use")
        assert world.refreshed() == problem


# ------------------------------------------------------------ administrator


@pytest.fixture(scope="module")
def administrator(world: World) -> Session:
    """Return a session as an administrator who has just what is needed, path by path."""
    world.ask("POST", "/access/users", userid=ADMIN)
    for number, (path, privileges) in enumerate(rights.administrator(CLUSTER).items()):
        world.ask("POST", "/access/roles", roleid=f"Needs{number}", privs=",".join(privileges))
        below = int(path in THROUGHOUT)
        world.ask("PUT", "/access/acl", path=path, roles=f"Needs{number}", users=ADMIN, propagate=below)
    return world.at(world.token(ADMIN, "all", privsep=0))


def lacking(at: Session) -> Problem | None:
    try:
        rights.prove_administrator(at.pve, rights.administrator(CLUSTER), exact=True)
    except StepError as error:
        return error.report
    return None


def test_an_administrator_who_lacks_a_privilege(world: World, administrator: Session) -> None:
    assert lacking(administrator) is None
    for number, (path, privileges) in enumerate(rights.administrator(CLUSTER).items()):
        for privilege in privileges:
            left = ",".join(privileges - {privilege})
            world.ask("PUT", f"/access/roles/Needs{number}", privs=left)
            problem = lacking(administrator)
            assert problem is not None
            assert problem.subject == f"administrator {ADMIN}!all"
            assert problem.problem == f"lacks {privilege} on {path}"
            to = f"--users {ADMIN} --tokens '{ADMIN}!all' --roles Administrator"
            assert problem.fix.splitlines()[0] == f"pveum acl modify {rights.lasting(path)} {to}"
            world.ask("PUT", f"/access/roles/Needs{number}", privs=",".join(privileges))


@pytest.mark.parametrize("path", rights.administrator(CLUSTER))
def test_an_administrator_of_everything_but_one_path(world: World, path: str) -> None:
    world.ask("POST", "/access/users", userid="bob@pve")
    at = world.at(world.token("bob@pve", "all", privsep=0))
    world.ask("PUT", "/access/acl", path="/", roles="Administrator", users="bob@pve")
    assert lacking(at) is None
    world.ask("PUT", "/access/acl", path=path, roles="NoAccess", users="bob@pve")
    problem = lacking(at)
    world.ask("DELETE", "/access/users/bob@pve")
    assert problem is not None
    names = ", ".join(sorted(rights.administrator(CLUSTER)[path]))
    assert f"lacks {names} on {path}" in problem.problem.split("; ")
    stem = path.rstrip("/") + "/"
    below = [each for each in rights.administrator(CLUSTER) if each == path or each.startswith(stem)]
    of_pool = [TEMPLATE] if path == POOL else []  # the pool's NoAccess holds on its guests
    assert [each.rpartition(" ")[2] for each in problem.problem.split("; ")] == below + of_pool


@pytest.mark.parametrize("path", THROUGHOUT)
def test_what_is_needed_everywhere_must_propagate(world: World, administrator: Session, path: str) -> None:
    number = list(rights.administrator(CLUSTER)).index(path)
    entry = {"path": path, "roles": f"Needs{number}", "users": ADMIN}
    world.ask("PUT", "/access/acl", propagate=0, **entry)
    problem = lacking(administrator)
    world.ask("PUT", "/access/acl", propagate=1, **entry)
    assert problem is not None
    assert problem.problem.endswith(f" on {path}")


def test_a_separated_token_of_an_administrator_has_nothing(world: World) -> None:
    at = world.at(world.token("root@pam", "apart"))
    problem = lacking(at)
    world.ask("DELETE", "/access/users/root@pam/token/apart")
    assert problem is not None
    assert "lacks Sys.Audit, Sys.Modify on /;" in problem.problem
    assert problem.fix.startswith("pveum acl modify / --tokens 'root@pam!apart' --roles Administrator\n")


def test_validation_tells_it_before_anything_else(world: World, administrator: Session) -> None:
    """Sys.Audit on / is needed for the first look already; it is not that look's refusal that is told."""
    number = list(rights.administrator(CLUSTER)).index("/")
    world.ask("PUT", f"/access/roles/Needs{number}", privs="Sys.Modify")
    with pytest.raises(StepError, match=r"lacks Sys\.Audit on /"):
        Validation(CLUSTER).observe(administrator, True)
    world.ask("PUT", f"/access/roles/Needs{number}", privs="Sys.Modify,Sys.Audit")


def test_a_backup_needs_two_rights_more(world: World) -> None:
    more = rights.administrator(CLUSTER, backup="nas")
    assert more[TEMPLATE] - rights.administrator(CLUSTER)[TEMPLATE] == {"VM.Backup"}
    assert more["/storage/nas"] == {"Datastore.AllocateSpace", "Datastore.Audit"}


def test_the_page_says_what_the_administrator_needs() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "real-hosts.md").read_text()
    rows = [f"| `{path}` | {', '.join(sorted(names))} |" for path, names in rights.administrator(CLUSTER).items()]
    assert "\n".join(rows) in page
