"""Certificates for tests of TLS: an authority, a server for 127.0.0.1 and localhost, and a client, as PEM files."""

from __future__ import annotations

import dataclasses
import datetime
import ipaddress
import pathlib

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFE = datetime.timedelta(hours=1)
_SERVER_NAMES = (x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost"))


@dataclasses.dataclass(frozen=True)
class Pair:
    """PEM files of a private key and of its certificate."""

    key: pathlib.Path
    certificate: pathlib.Path

    def read(self) -> tuple[bytes, bytes]:
        """Key and certificate, in the order of grpc.ssl_server_credentials."""
        return self.key.read_bytes(), self.certificate.read_bytes()


class Authority:
    """A certificate authority that lives in a directory, as long as a test.

    Attributes:
      certificate: the PEM file that those who trust the authority are given.
    """

    def __init__(self, directory: pathlib.Path, name: str = "ca") -> None:
        """Makes `{name}.crt` in the directory, which is made where it is missing."""
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(f"test authority {name}")
        builder = _builder(self._subject, self._subject, self._key)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        self.certificate = directory / f"{name}.crt"
        self.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))

    def issue_server(self, name: str = "server") -> Pair:
        """Makes `{name}.key` and `{name}.crt` of a server at 127.0.0.1 and localhost."""
        return self._issue(name, ExtendedKeyUsageOID.SERVER_AUTH, x509.SubjectAlternativeName(_SERVER_NAMES))

    def issue_client(self, name: str = "client") -> Pair:
        """Makes `{name}.key` and `{name}.crt` of a client."""
        return self._issue(name, ExtendedKeyUsageOID.CLIENT_AUTH, x509.SubjectAlternativeName([x509.DNSName(name)]))

    def _issue(self, name: str, usage: x509.ObjectIdentifier, names: x509.SubjectAlternativeName) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_subject(name), self._subject, key).add_extension(names, critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        pair = Pair(self._directory / f"{name}.key", self._directory / f"{name}.crt")
        pair.certificate.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(subject_name=subject, issuer_name=issuer, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _LIFE)
        .not_valid_after(now + _LIFE)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
