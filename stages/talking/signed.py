"""A video signed after the C2PA standard (Content Credentials). Needs the optional package c2pa-python.

The manifest says what the mark says: a trained algorithm's composite, by which model and seed. Whoever alters the file
breaks the signature. It proves who signed only to those who trust the certificate; one of one's own making proves nothing to
anybody. A signature holds random numbers: signed files differ from one run to the next.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from PIL import Image

from stages.base.errors import InputError
from stages.store import atomic
from stages.talking import mark

CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Signer:
    """A chain of certificates, the signer's own first, and the key of that one."""

    chain: bytes  # PEM
    key: bytes  # PEM, PKCS #8, without a password
    algorithm: str  # C2PA's name, such as es256

    @classmethod
    def from_files(cls, chain: Path, key: Path) -> Signer:
        """Read both, and sign a picture of one pixel: what C2PA refuses is known before a film is made.

        Raises:
            InputError: a file is missing or no PEM, the key has a password or is another certificate's, or C2PA refuses them.
        """
        try:
            certificates = chain.read_bytes()
            certificate = x509.load_pem_x509_certificates(certificates)[0]
        except (OSError, ValueError) as error:
            raise InputError(
                chain, f"no chain of certificates ({error})", "give a PEM file, the signer's own certificate first"
            ) from None
        try:
            secret = key.read_bytes()
            private = load_pem_private_key(secret, password=None)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(key, f"no key ({error})", "give a PEM file (PKCS #8) without a password") from None
        if private.public_key() != certificate.public_key():
            raise InputError(key, f"not the key of the first certificate in {chain}", "give the one that belongs to it")
        signer, pixel = cls(certificates, secret, _algorithm(private, key)), io.BytesIO()
        Image.new("RGB", (1, 1)).save(pixel, "PNG")
        pixel.seek(0)
        try:
            signer._sign("image/png", pixel, io.BytesIO(), "")
        except c2pa.C2paError as error:
            raise InputError(
                chain, f"C2PA refuses to sign with it ({error})", "give a valid certificate for signing documents"
            ) from None
        return signer

    def sign(self, path: Path, words: str) -> None:
        """Sign an MP4 where it lies; it must not change after that."""
        with atomic.whole_file(path) as part, path.open("rb") as source, part.open("w+b") as result:
            self._sign("video/mp4", source, result, words)

    def _sign(self, kind: str, source: BinaryIO, result: BinaryIO, words: str) -> None:
        action = {"action": "c2pa.created", "digitalSourceType": mark.SOURCE_TYPE, "description": words}
        manifest = {
            "claim_generator_info": [{"name": "HifiDiff"}],
            "format": kind,
            "assertions": [{"label": "c2pa.actions", "data": {"actions": [action]}}],
        }
        info = c2pa.C2paSignerInfo(self.algorithm.encode(), self.chain, self.key, None)
        with c2pa.Builder(json.dumps(manifest)) as builder, c2pa.Signer.from_info(info) as signer:
            builder.sign(signer, kind, source, result)


def _algorithm(key: object, path: Path) -> str:
    match key:
        case ec.EllipticCurvePrivateKey(curve=curve) if curve.name in CURVES:
            return CURVES[curve.name]
        case rsa.RSAPrivateKey():
            return "ps256"
        case ed25519.Ed25519PrivateKey():
            return "ed25519"
    raise InputError(path, "a key that C2PA signs nothing by", "take one of P-256, P-384, P-521, Ed25519 or RSA")
