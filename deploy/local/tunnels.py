"""What frps needs on this machine: a certificate authority of our own, a certificate, its configuration."""

from __future__ import annotations

import datetime
import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from deploy.local.engines import give_to_service, owned_folder
from deploy.local.keys import Keys, write_private
from deploy.local.ports import Ports

SERVER_NAME = "frps.internal"
YEARS_VALID = 10


@dataclass(frozen=True)
class TunnelFiles:
    """The files of one frps."""

    folder: Path

    @property
    def ca(self) -> Path:
        """The authority's certificate, which agents trust."""
        return self.folder / "ca.pem"

    @property
    def configuration(self) -> Path:
        """frps's TOML."""
        return self.folder / "frps.toml"


def prepare_tunnels(folder: Path, keys: Keys, ports: Ports, public_host: str) -> TunnelFiles:
    """Make the certificates once, and write frps's configuration each time."""
    files = TunnelFiles(owned_folder(folder))
    if not files.ca.exists():
        _make_certificates(folder)
    write_private(files.configuration, _configuration(folder, keys, ports, public_host))
    for path in folder.iterdir():
        give_to_service(path)
    return files


def _configuration(folder: Path, keys: Keys, ports: Ports, public_host: str) -> str:
    """Every frpc proves the token over TLS, and the gate decides what it may open."""
    first, last = ports.tunnels
    quoted = json.dumps  # a JSON string is a TOML string
    return f"""\
bindAddr = "127.0.0.1"
bindPort = {ports.frps}
proxyBindAddr = {quoted(public_host)}
auth.method = "token"
auth.token = {quoted(keys.frps_token)}
transport.tls.force = true
transport.tls.certFile = {quoted(str(folder / "server.pem"))}
transport.tls.keyFile = {quoted(str(folder / "server.key"))}
# Sessions then survive a cut of the control connection.
transport.tcpMux = false
transport.heartbeatTimeout = 30
allowPorts = [{{ start = {first}, end = {last} }}]
detailedErrorsToClient = false
webServer.addr = "127.0.0.1"
webServer.port = {ports.frps_admin}
webServer.user = "dcompute"
webServer.password = {quoted(keys.frps_admin_password)}
log.to = "console"
log.level = "info"
log.disablePrintColor = true

# `Ping` is left out on purpose: a dead gate would then close every tunnel.
[[httpPlugins]]
name = "gate"
addr = "127.0.0.1:{ports.gate}"
path = "/frps"
ops = ["Login", "NewProxy", "CloseProxy"]
"""


def _make_certificates(folder: Path) -> None:
    authority_key = ec.generate_private_key(ec.SECP256R1())
    server_key = ec.generate_private_key(ec.SECP256R1())
    authority = _name("DistributedCompute tunnel authority")
    authority_certificate = (
        _builder(authority, authority, authority_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
    )
    names = [x509.DNSName(SERVER_NAME), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    server_certificate = (
        _builder(_name(SERVER_NAME), authority, server_key.public_key())
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    # The authority's key is not kept: no second certificate of it will ever be needed.
    write_private(folder / "server.key", _pem_key(server_key))
    write_private(folder / "server.pem", _pem(server_certificate), 0o644)
    write_private(folder / "ca.pem", _pem(authority_certificate), 0o644)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * YEARS_VALID))
    )


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _pem_key(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
