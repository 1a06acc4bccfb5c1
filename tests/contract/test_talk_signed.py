"""A signed film: its manifest says what the mark says, another byte breaks it; what can not sign is named at once."""

from __future__ import annotations

import datetime
import json
import sys
from pathlib import Path
from typing import Any

import c2pa
import numpy as np
import pytest
from commands import call
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import Image
from tiny_talk import model, posed, rendered, write

from stages import media, talk
from stages.base.errors import InputError, ParameterError
from stages.talking import mark
from stages.talking.signed import Signer


def private(key: Any, password: bytes = b"") -> bytes:
    locked = BestAvailableEncryption(password) if password else NoEncryption()
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked))


def chain(key: Any, *, days: int = 30, signs_documents: bool = True) -> bytes:
    """A certificate of this key and that of the root which issued it."""
    root, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)

    def certificate(name: str, public: Any, ca: bool) -> bytes:
        made = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "root")]))
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(60))
            .not_valid_after(now + datetime.timedelta(days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.KeyUsage(True, False, False, False, False, ca, ca, False, False), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key()), critical=False)
        )
        if not ca:
            use = ExtendedKeyUsageOID.EMAIL_PROTECTION if signs_documents else ExtendedKeyUsageOID.SERVER_AUTH
            made = made.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
        return made.sign(root, hashes.SHA256()).public_bytes(Encoding.PEM)

    return certificate("signer", key.public_key(), False) + certificate("root", root.public_key(), True)


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, a face, a sound, a chain of certificates and its key."""
    folder = tmp_path_factory.mktemp("signed")
    renderer, moves, sound = rendered()
    (picture,) = renderer.frames(posed(moves))
    Image.fromarray(np.asarray(picture, np.uint8)).save(folder / "ada.png")
    write(folder / "speech.mp4", [np.zeros((16, 16, 3), np.uint8)] * 30, sound[:48_000])
    model().save_pretrained(folder / "model")
    key = ec.generate_private_key(ec.SECP256R1())
    (folder / "chain.pem").write_bytes(chain(key))
    (folder / "key.pem").write_bytes(private(key))
    return folder


def run(given: Path, *more: object) -> None:
    call(talk.main, given / "model", given / "ada.png", given / "speech.mp4", "--no-check", *more)


def manifest(path: Path) -> tuple[dict[str, Any], set[str]]:
    """The manifest, and the codes of what is wrong with it."""
    with c2pa.Reader(str(path)) as reader:
        found = json.loads(reader.json())
    return found["manifests"][found["active_manifest"]], {entry["code"] for entry in found["validation_status"]}


def test_a_signed_film_says_what_it_is_and_who_signed(given: Path, tmp_path: Path) -> None:
    run(given, "--out", tmp_path / "plain.mp4")
    run(given, "--out", tmp_path / "signed.mp4", "--c2pa", given / "chain.pem", given / "key.pem")
    found, wrong = manifest(tmp_path / "signed.mp4")
    assert wrong == {"signingCredential.untrusted"}, "our own root is on nobody's list, and nothing else is wrong"
    assert found["signature_info"]["issuer"] == "signer"
    (actions,) = (part["data"]["actions"] for part in found["assertions"] if part["label"].startswith("c2pa.actions"))
    assert actions[0]["digitalSourceType"] == mark.SOURCE_TYPE
    assert "seed 5, 2 steps" in actions[0]["description"]
    assert np.array_equal(media.decode(tmp_path / "signed.mp4", fps=25), media.decode(tmp_path / "plain.mp4", fps=25))
    assert mark.read(tmp_path / "signed.mp4") == mark.read(tmp_path / "plain.mp4") is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain.mp4", "signed.mp4"]
    content = bytearray((tmp_path / "signed.mp4").read_bytes())
    content[content.index(b"mdat") + 5000] ^= 1
    (tmp_path / "changed.mp4").write_bytes(content)
    assert "assertion.bmffHash.mismatch" in manifest(tmp_path / "changed.mp4")[1]


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-384", "Ed25519", "RSA"],
)
def test_other_keys_sign_too(given: Path, tmp_path: Path, key: Any) -> None:
    (tmp_path / "chain.pem").write_bytes(chain(key))
    (tmp_path / "key.pem").write_bytes(private(key))
    (tmp_path / "film.mp4").write_bytes((given / "speech.mp4").read_bytes())
    Signer.from_files(tmp_path / "chain.pem", tmp_path / "key.pem").sign(tmp_path / "film.mp4", "words")
    assert manifest(tmp_path / "film.mp4")[1] == {"signingCredential.untrusted"}


def test_what_can_not_sign_is_known_before_a_frame_is_made(
    given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, other = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    files = {
        "chain": chain(key),
        "key": private(key),
        "other": private(other),
        "locked": private(key, b"secret"),
        "x25519": private(stranger := x25519.X25519PrivateKey.generate()),
        "of_x25519": chain(stranger),
        "late": chain(key, days=-1),
        "server": chain(key, signs_documents=False),
        "text": b"no PEM",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    for certificates, secret, words in (
        ("missing", "key", r"missing: no chain of certificates \(.*No such file"),
        ("text", "key", r"text: no chain of certificates .*; give a PEM file"),
        ("chain", "text", r"text: no key .*; give a PEM file \(PKCS #8\) without a password"),
        ("chain", "locked", r"locked: no key \(.*encrypted.*\); give a PEM file \(PKCS #8\) without a password"),
        ("chain", "other", r"other: not the key of the first certificate in .*chain"),
        ("of_x25519", "x25519", r"x25519: a key that C2PA signs nothing by"),
        ("late", "key", r"late: C2PA refuses to sign with it \(.*not valid at time"),
        ("server", "key", r"server: C2PA refuses to sign with it .*; give a valid certificate for signing documents"),
    ):
        with pytest.raises(InputError, match=words):
            run(given, "--out", tmp_path / "a.mp4", "--c2pa", tmp_path / certificates, tmp_path / secret)
    with pytest.raises(ParameterError, match=r"a folder of pictures: --c2pa signs a video; give it the ending \.mp4"):
        run(given, "--out", tmp_path / "frames", "--c2pa", tmp_path / "chain", tmp_path / "key")
    monkeypatch.setitem(sys.modules, "c2pa", None)
    monkeypatch.delitem(sys.modules, "stages.talking.signed")
    with pytest.raises(ParameterError, match=r"--c2pa: .*c2pa.*; run: python -m pip install c2pa-python"):
        run(given, "--out", tmp_path / "a.mp4", "--c2pa", tmp_path / "chain", tmp_path / "key")
    assert not {"a.mp4", "frames"} & {path.name for path in tmp_path.iterdir()}
