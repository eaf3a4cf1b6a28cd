"""Own Packer's access: pool, user, role, ACLs, two token slots, and the proof that a token suffices for a build."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from io import StringIO
from typing import ClassVar

from lib.clients.pve_session import Credential
from lib.clients.waiting import together
from lib.config.model import Cluster
from lib.engine.step import UNKNOWN, Change, Inputs, Step, Unknown
from lib.errors import ApiError, Problem, StepError
from lib.facts import access as facts
from lib.facts.cluster import guests
from lib.secrets import Secret
from lib.steps import rights
from lib.steps.session import Session
from lib.steps.validation import Validation

COMMENT = "Groundwork: Packer builds"
DAY = 86400


@dataclass(frozen=True)
class Wanted:
    """What a build needs, on the PVE version that answers."""

    version: tuple[int, int]


@dataclass(frozen=True)
class Seen:
    """Access as it is: `enabled`, whether the user may log in; `expires`, epoch seconds by slot.

    `current` is the credential of the slot that packer/.env names; `in_pool` says that the pool has the base
    template, so that rights on it can be proven. `now` is the cluster's clock, in epoch seconds.
    """

    pool: bool
    user: bool
    enabled: bool
    role: frozenset[str] | None
    known: frozenset[str]
    acls: frozenset[facts.Acl]
    expires: tuple[tuple[str, int], ...]
    privsep: tuple[tuple[str, bool], ...]
    current: Credential | None
    valid: bool
    in_pool: bool = False
    lacking: tuple[tuple[str, tuple[str, ...]], ...] = ()
    now: float = field(default=0.0, repr=False)


class PackerUser(Step[Session, Seen, Wanted, Credential]):
    """Keep Packer's user, role, rights and token. API: /pools, /access."""

    name: ClassVar[str] = "packer_user"
    needs: ClassVar[tuple[str, ...]] = ("validation", "tools_storage")

    def __init__(self, cluster: Cluster, refresh_always: bool, prove: bool = False) -> None:
        """`refresh_always`: write the other token slot at every run, else only where the current one fails.

        `prove`: log in as the current token at every observation and name what it lacks.
        """
        self._prove_always = prove
        self._made: Credential | None = None  # by this run, and not in packer/.env yet
        self._cluster = cluster
        self._packer = cluster.packer
        self._granted = rights.packer(cluster)
        self._always = refresh_always
        self._slots = (f"{self._packer.token}-a", f"{self._packer.token}-b")

    def desired(self, inputs: Inputs) -> Wanted | Unknown:
        """Want rights for the PVE version that validation found."""
        validated = inputs.of(Validation)
        return UNKNOWN if isinstance(validated, Unknown) else Wanted(validated.version)

    def observe(self, at: Session, recent: bool) -> Seen:
        """Read pools, users, roles, ACLs and our tokens; and, where it matters, log in as the current one."""
        pve = at.pve
        users, listed, entries, pools, resources = together(
            partial(pve.once, "/access/users", full=1),
            partial(pve.once, "/access/roles"),
            partial(pve.once, "/access/acl"),
            partial(pve.once, "/pools"),
            partial(pve.once, "/cluster/resources"),
        )
        roles = facts.roles(listed)
        user = next((row for row in users if row["userid"] == self._packer.user), None)
        tokens = {str(token["tokenid"]): token for token in (user or {}).get("tokens") or ()}
        ours = {slot: tokens[slot] for slot in self._slots if slot in tokens}
        current = self._current(at)
        known = roles.get("Administrator", frozenset())
        valid = (self._prove_always or not self._always) and current is not None and self._lets_in(at, current)
        pool = self._cluster.proxmox.pool
        base = next((g for g in guests(resources) if g.vmid == self._cluster.images.base.vmid), None)
        in_pool = base is not None and base.pool == pool
        lacking = self._lacks(at, current, known, in_pool) if self._prove_always and valid and current else {}
        return Seen(
            pool=any(row["poolid"] == pool for row in pools),
            user=user is not None,
            enabled=user is not None and bool(int(user.get("enable", 1))) and not int(user.get("expire") or 0),
            role=roles.get(self._packer.role),
            known=known,
            acls=frozenset(a for a in facts.acls(entries) if a.who.partition("!")[0] == self._packer.user),
            expires=tuple((slot, int(token.get("expire") or 0)) for slot, token in ours.items()),
            privsep=tuple((slot, bool(int(token.get("privsep", 1)))) for slot, token in ours.items()),
            current=current,
            valid=valid,
            in_pool=in_pool,
            lacking=tuple((path, tuple(names)) for path, names in lacking.items()),
            now=pve.now(),
        )

    def _current(self, at: Session) -> Credential | None:
        """Return the credential that this run has made, or that packer/.env holds, where it is one of our slots."""
        if self._made is not None:
            return self._made
        path = at.base / "packer" / ".env"
        if not path.is_file():
            return None
        from dotenv import dotenv_values  # those alone pay for the import who look at the token

        values = dotenv_values(stream=StringIO(path.read_text(errors="replace")))
        user, _, slot = (values.get("PROXMOX_USERNAME") or "").partition("!")
        secret = values.get("PROXMOX_TOKEN") or ""
        if user != self._packer.user or slot not in self._slots or not secret:
            return None
        return Credential(user, Secret(secret), slot)

    def _lets_in(self, at: Session, credential: Credential) -> bool:
        try:
            at.as_token(credential).get("/access/permissions")
        except ApiError as error:
            if error.status != 401:
                raise
            return False
        return True

    # ------------------------------------------------------------- compare

    def _entries(self, seen: Seen) -> Iterator[facts.Acl]:
        """Yield the ACL entries that must be: the user's, and each existing or coming slot's own."""
        slots = [slot for slot, _ in seen.expires]
        for path in self._granted:
            yield facts.Acl(path, "user", self._packer.user, self._packer.role, True)
            for slot in slots:
                yield facts.Acl(path, "token", f"{self._packer.user}!{slot}", self._packer.role, True)

    def _privileges(self, seen: Seen) -> frozenset[str]:
        return frozenset().union(*self._granted.values()) & seen.known

    def changes(self, seen: Seen, wanted: Wanted) -> Iterator[Change]:
        """Compare pool, user, role, ACLs and tokens."""
        if not seen.pool:
            yield Change("pool", None, self._cluster.proxmox.pool)
        if not seen.user:
            yield Change("user", None, self._packer.user)
        elif not seen.enabled:
            yield Change("user", "disabled or expiring", f"{self._packer.user} may log in")
        privileges = self._privileges(seen)
        if seen.role is None:
            yield Change("role", None, f"{self._packer.role} ({len(privileges)} privileges)")
        elif seen.role != privileges:
            lacking, extra = privileges - seen.role, seen.role - privileges
            yield Change("role", ",".join(sorted(extra)) or None, ",".join(sorted(lacking)) or None)
        for entry in sorted(set(self._entries(seen)) - seen.acls, key=lambda a: (a.path, a.who)):
            yield Change(f"acl {entry.path}", None, f"{entry.who}: {entry.role}")
        for slot, key, _ in self._settings(seen):
            after = f"in {self._packer.token_days} days" if key == "expire" else "1"
            yield Change(f"token {slot} {key}", "never" if key == "expire" else "0", after)
        yield from self._token_changes(seen)

    def _settings(self, seen: Seen) -> Iterator[tuple[str, str, int]]:
        """Yield what a slot's token is not set to and must be: slot, key, value."""
        for slot, separated in seen.privsep:
            if not separated:
                yield slot, "privsep", 1
        for slot, expires in seen.expires:
            if not expires:
                yield slot, "expire", self._expiry(seen)

    def _expiry(self, seen: Seen) -> int:
        return int(seen.now) + self._packer.token_days * DAY

    def _token_changes(self, seen: Seen) -> Iterator[Change]:
        there = dict(seen.expires)
        if seen.current is None or seen.current.token_id not in there:
            yield Change("token", None, f"{self._packer.user}!{self._next(seen)}", refresh=bool(there) and self._always)
        elif self._always:
            yield Change("token", seen.current.token_id, self._next(seen), refresh=True)
        elif not seen.valid or 0 < there[seen.current.token_id] < seen.now + DAY:
            yield Change("token", f"{seen.current.token_id} (refused or expiring)", self._next(seen))

    def _next(self, seen: Seen) -> str:
        """Return the slot to write: never the one that a running build may use."""
        return self._slots[1] if seen.current and seen.current.token_id == self._slots[0] else self._slots[0]

    # --------------------------------------------------------------- apply

    def apply(self, at: Session, seen: Seen, wanted: Wanted) -> Credential | None:
        """Create or mend what differs, write the token, and prove its rights as the token."""
        pve, packer = at.pve, self._packer
        if not seen.pool:
            pve.post("/pools", poolid=self._cluster.proxmox.pool, comment="Groundwork: every guest of ours")
        privileges = ",".join(sorted(self._privileges(seen)))
        if seen.role is None:
            pve.post("/access/roles", roleid=packer.role, privs=privileges)
        elif seen.role != self._privileges(seen):
            pve.put(f"/access/roles/{packer.role}", privs=privileges)
        if not seen.user:
            pve.post("/access/users", userid=packer.user, comment=COMMENT, enable=1)
        elif not seen.enabled:
            pve.put(f"/access/users/{packer.user}", enable=1, expire=0)
        credential, kept, written = seen.current, True, ""
        if credential is None or list(self._token_changes(seen)):
            credential, kept = self._write_token(at, seen, wanted)
            written = credential.token_id
        for slot, key, value in self._settings(seen):
            if slot != written:
                pve.put(f"/access/users/{packer.user}/token/{slot}", **{key: value})
        self._grant(at, seen, credential, kept)
        self._prove(at, credential, seen)
        return credential

    def _write_token(self, at: Session, seen: Seen, wanted: Wanted) -> tuple[Credential, bool]:
        """Make or remake the slot that is not in use, and say whether it has kept its ACLs.

        Its secret is shown this once.
        """
        slot = self._next(seen)
        path = f"/access/users/{self._packer.user}/token/{slot}"
        expire = self._expiry(seen)
        there = slot in dict(seen.expires)
        kept = there and wanted.version >= (9, 2)  # 9.1 may have a libpve-access-control that cannot regenerate
        if kept:
            answer = at.pve.put(path, regenerate=1, expire=expire, privsep=1)
        else:
            if there:
                at.pve.delete(path)
            answer = at.pve.post(path, expire=expire, privsep=1, comment=COMMENT)
        self._made = Credential(self._packer.user, Secret(str(answer["value"])), slot)
        return self._made, kept

    def _grant(self, at: Session, seen: Seen, credential: Credential, kept: bool) -> None:
        fresh = {facts.Acl(path, "token", credential.identity, self._packer.role, True) for path in self._granted}
        lacking = (fresh | set(self._entries(seen))) - (seen.acls if kept else seen.acls - fresh)
        for path in sorted({entry.path for entry in lacking}):
            entries = [entry for entry in lacking if entry.path == path]
            at.pve.put(
                "/access/acl",
                path=path,
                roles=self._packer.role,
                users=",".join(e.who for e in entries if e.kind == "user") or None,
                tokens=",".join(sorted(e.who for e in entries if e.kind == "token")) or None,
                propagate=1,
            )

    def _lacks(self, at: Session, token: Credential, known: frozenset[str], in_pool: bool) -> dict[str, list[str]]:
        """Return by path what the token's effective rights lack for a build, asked as the token itself."""
        wanted = {path: privileges & known for path, privileges in self._granted.items()}
        pool, template = f"/pool/{self._cluster.proxmox.pool}", f"/vms/{self._cluster.images.base.vmid}"
        if in_pool:  # the pool's rights hold on its guests unless something nearer says NoAccess
            wanted[template] = wanted[pool]
        lacking = rights.lacks(at.as_token(token), wanted)
        left = [name for name in lacking.pop(template, ()) if name not in lacking.get(pool, ())]
        return lacking | ({template: left} if left else {})

    def _prove(self, at: Session, credential: Credential, seen: Seen) -> None:
        """Log in as the token and compare its effective rights with what a build needs."""
        lacking = self._lacks(at, credential, seen.known, seen.in_pool)
        if lacking:
            now = replace(seen, role=self._privileges(seen), acls=facts.acls(at.pve.get("/access/acl")))
            problem = self._told(credential, lacking, now)
            raise StepError(problem.subject, problem.problem, problem.fix)

    def problems(self, seen: Seen, wanted: Wanted) -> Iterator[Problem]:
        """Yield what no apply can mend, and what the current token lacks, where that was looked at."""
        unknown = frozenset().union(*self._granted.values()) - seen.known
        if unknown & rights.AGENT != rights.AGENT:
            unknown -= rights.AGENT  # a version knows one of them
        if unknown:
            version = ".".join(map(str, wanted.version))
            told = f"knows no privilege {', '.join(sorted(unknown))} (got {version}), and a build needs it"
            yield Problem("Proxmox VE", told, "upgrade the hosts, libpve-access-control above all")
        if self._prove_always and seen.user and not seen.enabled:
            user = self._packer.user
            fix = f"pveum user modify {user} --enable 1 --expire 0"
            yield Problem(f"user {user}", "is disabled or expires, and its tokens with it", fix)
        elif seen.current is not None and seen.lacking:
            yield self._told(seen.current, dict(seen.lacking), seen)

    def _told(self, token: Credential, lacking: Mapping[str, Iterable[str]], seen: Seen) -> Problem:
        fixes = []
        for path, names in lacking.items():
            over = facts.overruling(seen.acls, path, token.identity)
            gone = sorted(set(names) - (seen.role or frozenset()))
            if gone and not over:
                fixes.append(f"pveum role modify {self._packer.role} --append 1 --privs {','.join(gone)}")
            if set(names) - set(gone) and not over:
                fixes.append(facts.grant(path, token.identity, self._packer.role))
            fixes += [facts.revoke(entry) for entry in over]
        return Problem(f"token {token.identity}", rights.told(lacking), "\n".join(dict.fromkeys(fixes)))

    def remarks(self, seen: Seen) -> Iterator[str]:
        """Yield what our user and tokens may beside what a build needs: somebody gave it, and only he knows why."""
        ours = {self._packer.user, *(f"{self._packer.user}!{slot}" for slot in self._slots)}
        for entry in sorted(seen.acls, key=lambda a: (a.path, a.who)):
            if entry.who in ours and (entry.path not in self._granted or entry.role != self._packer.role):
                yield f"{entry.who} also has {entry.role} on {entry.path}; to take it away: {facts.revoke(entry)}"

    def output(self, seen: Seen, wanted: Wanted) -> Credential:
        """Give the credential that packer/.env should hold."""
        if seen.current is None:
            return Credential(self._packer.user, Secret(""), self._next(seen))
        return seen.current

    def reason(self, seen: Seen, wanted: Wanted) -> str:
        """Say who may what."""
        count = len(self._privileges(seen))
        return f"{self._packer.user} with {count} privileges on {len(self._granted)} paths, proven as the token"
