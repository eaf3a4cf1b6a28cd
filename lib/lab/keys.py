"""Own the lab's keys: its CA, the nodes' certificates, SSH host keys, root's SSH key and password.

They are made once and kept under `.lab/`, so that a client that trusted the lab
yesterday still does after a restart or a reset. Elliptic curves, because they are
made in a millisecond.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_FILE = "pve-root-ca.pem"
SSH_KEY_FILE = "ssh_key"
PASSWORD_FILE = "root_password"
YEARS = datetime.timedelta(days=3650)


class Keys(msgspec.Struct, frozen=True):
    """Everything by file, and what is needed as text. `certificates` are by node name."""

    ca: str
    root_public_key: str
    root_password: str
    certificates: dict[str, Path]


def prepare(folder: Path, nodes: dict[str, str]) -> Keys:
    """Read or make all keys for the nodes (name → address); a changed address gets a new certificate."""
    kept = folder / "keys"
    kept.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca_key = _ca(folder)
    ca = x509.load_pem_x509_certificate((folder / CA_FILE).read_bytes())
    certificates = {}
    for name, address in nodes.items():
        certificates[name] = kept / f"{name}.pem"
        if not _covers(certificates[name], address, ca):
            _write(certificates[name], _node_certificate(name, address, ca, ca_key))
    user_key = folder / SSH_KEY_FILE
    if not user_key.is_file():
        _ssh_pair(user_key, "groundwork-lab")
    password = folder / PASSWORD_FILE
    if not password.is_file():
        _write(password, (secrets.token_urlsafe(18) + "\n").encode())
    return Keys(
        ca=(folder / CA_FILE).read_text(),
        root_public_key=user_key.with_suffix(".pub").read_text(),
        root_password=password.read_text().strip(),
        certificates=certificates,
    )


def host_key(folder: Path, name: str) -> Path:
    """Return the file of a host's SSH key; make it where it is missing."""
    path = folder / "keys" / f"{name}.ssh"
    if not path.is_file():
        _ssh_pair(path, f"root@{name}")
    return path


def _write(path: Path, content: bytes, mode: int = 0o600) -> None:
    temporary = path.with_name(path.name + ".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as file:
        file.write(content)
    temporary.rename(path)


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _ca(folder: Path) -> ec.EllipticCurvePrivateKey:
    """Return the CA's key; make key and certificate where either is missing."""
    key_file = folder / "keys" / "ca.key"
    if key_file.is_file() and (folder / CA_FILE).is_file():
        found = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(found, ec.EllipticCurvePrivateKey)
        return found
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "Proxmox Virtual Environment"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, secrets.token_hex(16)),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "PVE Cluster Manager CA"),
        ]
    )
    now = datetime.datetime.now(datetime.UTC)
    signs = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    certificate = (
        _builder(subject, subject, now, key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(signs, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_file, _pem(key, serialization.PrivateFormat.PKCS8))
    _write(folder / CA_FILE, certificate.public_bytes(serialization.Encoding.PEM), 0o644)
    return key


def _builder(
    subject: x509.Name, issuer: x509.Name, now: datetime.datetime, public: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + YEARS)
    )


def _node_certificate(name: str, address: str, ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey) -> bytes:
    """Make certificate and key of one node, in one file: by name, its address, and the loopback it is reached on."""
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.DNSName(name),
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address(address)),
    ]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    certificate = (
        _builder(subject, ca.subject, datetime.datetime.now(datetime.UTC), key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + _pem(key, serialization.PrivateFormat.PKCS8)


def _covers(path: Path, address: str, ca: x509.Certificate) -> bool:
    if not path.is_file():
        return False
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return certificate.issuer == ca.subject and ipaddress.ip_address(address) in names.get_values_for_type(
        x509.IPAddress
    )


def _ssh_pair(path: Path, comment: str) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    _write(path, _pem(key, serialization.PrivateFormat.OpenSSH))
    _write(path.with_suffix(".pub"), public + f" {comment}\n".encode(), 0o644)


def known_hosts(host_keys: dict[str, Path], addresses: dict[str, str], ports: dict[str, int]) -> str:
    """Return known_hosts lines: each host by its address, its name and the loopback port it answers on."""
    lines = []
    for name, address in addresses.items():
        public = host_keys[name].with_suffix(".pub").read_text().split()
        lines.append(f"{address},{name},[127.0.0.1]:{ports[address]} {public[0]} {public[1]}\n")
    return "".join(lines)
