"""Access tokens: what is taken for one, what never is, and how keys follow each other."""

import asyncio
import base64
import hashlib
import json
import os
import stat
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from db.models.identity import Role
from guards.callers import Caller
from guards.errors import Unauthenticated
from guards.tokens import LEEWAY_S, LONGEST_LIFE, LONGEST_TOKEN, TYPE, Key, KeyRing, Tokens, new_key

ISSUER = "https://agentos.test"
WHO = UUID("0190a5f0-0000-7000-8000-000000000001")
RING = KeyRing([new_key(), new_key()])
SIGNER = RING.signer
STRANGER = new_key()
TOKENS = Tokens(RING, issuer=ISSUER)
LIFE_S = int(LONGEST_LIFE.total_seconds())

Claims = dict[str, Any]
Forge = Callable[[], str]


def issued(tokens: Tokens = TOKENS, *, life: timedelta = LONGEST_LIFE, now: float | None = None) -> str:
    return tokens.issued(user_id=WHO, tenant="default", role=Role.OPERATOR, token_version=3, life=life, now=now)


def claims(**changed: Any) -> Claims:
    """What a good token says, with some of it changed; a claim given as None is left out."""
    now = int(time.time())
    good = {
        "iss": ISSUER,
        "aud": "agentos",
        "sub": str(WHO),
        "jti": "j1",
        "iat": now,
        "nbf": now,
        "exp": now + LIFE_S,
        "tenant": "default",
        "role": "operator",
        "ver": 3,
    }
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def header(**changed: Any) -> Claims:
    good = {"alg": "EdDSA", "typ": TYPE, "kid": SIGNER.id}
    return {name: value for name, value in {**good, **changed}.items() if value is not None}


def part(content: object) -> str:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def signed(payload: object, head: Mapping[str, Any] | None = None, *, key: Key = SIGNER) -> str:
    """A token signed by hand, so that nothing between us and the wire refuses to make a bad one."""
    body = f"{part(head if head is not None else header())}.{part(payload)}"
    return f"{body}.{part(key.private.sign(body.encode()))}"


def saying(**changed: Any) -> Forge:
    return lambda: signed(claims(**changed))


def headed(**changed: Any) -> Forge:
    return lambda: signed(claims(), header(**changed))


def signed_with_the_public_key() -> str:
    """The classic confusion: the published key taken as an HMAC secret."""
    raw = SIGNER.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return jwt.encode(claims(), raw, algorithm="HS256", headers={"typ": TYPE, "kid": SIGNER.id})


def unsigned() -> str:
    return f"{part(header(alg='none'))}.{part(claims())}."


def changed_after_signing() -> str:
    head, _, signature = signed(claims()).split(".")
    return f"{head}.{part(claims(role='admin'))}.{signature}"


def now_plus(seconds: float) -> int:
    return int(time.time()) + int(seconds)


def too_long() -> str:
    now = now_plus(0)
    return signed(claims(iat=now, exp=now + LIFE_S + 1))


HOSTILE: dict[str, Forge] = {
    "alg none": unsigned,
    "alg none, signed": headed(alg="none"),
    "HS256 with the public key": signed_with_the_public_key,
    "alg of another family": headed(alg="ES256"),
    "alg missing": headed(alg=None),
    "another key, our kid": lambda: signed(claims(), key=STRANGER),
    "another key, its kid": lambda: signed(claims(), header(kid=STRANGER.id), key=STRANGER),
    "our other key's kid": headed(kid=[*RING.jwks["keys"]][1]["kid"]),
    "kid missing": headed(kid=None),
    "kid a list": headed(kid=[SIGNER.id]),
    "kid a path": headed(kid="../../dev/null"),
    "jku": headed(jku="https://evil.test/jwks.json"),
    "jwk": lambda: signed(claims(), header(jwk=STRANGER.jwk), key=STRANGER),
    "x5u": headed(x5u="https://evil.test/chain.pem"),
    "crit": headed(crit=["exp"]),
    "b64 false": headed(b64=False),
    "typ JWT": headed(typ="JWT"),
    "typ missing": headed(typ=None),
    "typ in capitals": headed(typ="AT+JWT"),
    **{f"{name} missing": saying(**{name: None}) for name in ("exp", "iat", "nbf", "sub", "aud", "iss", "jti")},
    **{f"{name} missing": saying(**{name: None}) for name in ("tenant", "role", "ver")},
    "aud of another": saying(aud="billing"),
    "aud a list without us": saying(aud=["billing", "agentos2"]),
    "aud a number": saying(aud=7),
    "iss of another": saying(iss="https://evil.test"),
    "iss with a slash": saying(iss=f"{ISSUER}/"),
    "iss a list": saying(iss=[ISSUER]),
    "nbf ahead": lambda: signed(claims(nbf=now_plus(60))),
    "nbf a text": lambda: signed(claims(nbf=str(now_plus(-1)))),
    "iat ahead": lambda: signed(claims(iat=now_plus(60), exp=now_plus(120))),
    "iat a text": lambda: signed(claims(iat=str(now_plus(-1)))),
    "iat a float": lambda: signed(claims(iat=now_plus(-1) + 0.5)),
    "iat infinite": saying(iat=float("inf")),
    "exp past": lambda: signed(claims(exp=now_plus(-60))),
    "exp a text": lambda: signed(claims(exp=str(now_plus(60)))),
    "exp a float": lambda: signed(claims(exp=now_plus(60) + 0.5)),
    "exp infinite": saying(exp=float("inf")),
    "exp not a number": saying(exp=float("nan")),
    "lives a second too long": too_long,
    "lives for ever": saying(exp=2**62),
    "ver a boolean": saying(ver=True),
    "ver a text": saying(ver="3"),
    "tenant a number": saying(tenant=1),
    "tenant empty": saying(tenant=""),
    "tenant a list": saying(tenant=["default"]),
    "role unknown": saying(role="root"),
    "role in capitals": saying(role="ADMIN"),
    "role a list": saying(role=["admin"]),
    "sub not a uuid": saying(sub="operator@default.test"),
    "sub a number": saying(sub=7),
    "sub empty": saying(sub=""),
    "jti a number": saying(jti=7),
    "payload a list": lambda: signed([]),
    "payload not JSON": lambda: signed(b"\xff\xfe"),
    "payload nested too deep": lambda: signed(b"[" * 2500),
    "payload with a number of 4400 digits": lambda: signed(b'{"exp":' + b"9" * 4400 + b"}"),
    "header nested too deep": lambda: f"{part(b'[' * 5900)}.e30.e30",
    "header a list": lambda: f"{part([])}.e30.e30",
    "changed after signing": changed_after_signing,
    "signature cut off": lambda: issued()[:-10],
    "longer than 8 KB": saying(note="x" * LONGEST_TOKEN),
    "empty": lambda: "",
    "two parts": lambda: issued().rpartition(".")[0],
    "four parts": lambda: issued() + ".e30",
    "dots alone": lambda: "..",
    "bad base64": lambda: "a.b.c",
    "not ASCII": lambda: "é.é.é",
    "half a surrogate": lambda: "\ud800.\ud800.\ud800",
    "a refresh token": lambda: base64.urlsafe_b64encode(bytes(32)).decode(),
}


@pytest.mark.parametrize("forge", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_is_refused_and_fails_nothing_else(forge: Forge) -> None:
    with pytest.raises(Unauthenticated) as refused:
        TOKENS.verified(forge())

    assert "UNAUTHENTICATED" == refused.value.code
    assert all(word not in str(refused.value).lower() for word in ("signature", "algorithm", "claim", "key"))


@given(st.one_of(st.text(max_size=300), st.from_regex(r"[\w-]{0,60}\.[\w-]{0,60}\.[\w-]{0,60}", fullmatch=True)))
def test_no_text_makes_anything_but_a_refusal(text: str) -> None:
    with pytest.raises(Unauthenticated):
        TOKENS.verified(text)


@given(st.dictionaries(st.sampled_from([*claims(), "extra"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)))  # fmt: skip
def test_no_claim_however_odd_makes_anything_but_a_refusal(changed: Claims) -> None:
    """Even rightly signed: what a foreign or older issuer writes must never fail the call in another way."""
    with suppress(Unauthenticated):
        TOKENS.verified(signed({**claims(), **changed}))


def test_a_token_speaks_for_who_it_was_issued_to() -> None:
    caller = TOKENS.verified(issued(now=(at := int(time.time()))))

    assert (
        Caller(
            user_id=WHO,
            tenant="default",
            role=Role.OPERATOR,
            token_id=caller.token_id,
            token_version=3,
            expires_at=at + LIFE_S,
        )
        == caller
    )


@pytest.mark.parametrize(
    "intended",
    [
        saying(),
        lambda: signed(claims(iat=now_plus(-100), exp=now_plus(-5))),
        lambda: signed(claims(iat=now_plus(5), nbf=now_plus(5), exp=now_plus(60))),
        saying(aud=["billing", "agentos"]),
    ],
    ids=["valid", "5 s late", "5 s early", "aud a list with us"],
)
def test_what_is_meant_to_pass_passes(intended: Forge) -> None:
    assert WHO == TOKENS.verified(intended()).user_id


def test_a_late_token_is_told_to_refresh() -> None:
    with pytest.raises(Unauthenticated, match="refresh it"):
        TOKENS.verified(issued(now=time.time() - LIFE_S - LEEWAY_S - 1))


def test_no_two_tokens_have_the_same_id() -> None:
    assert TOKENS.verified(issued()).token_id != TOKENS.verified(issued()).token_id


@pytest.mark.parametrize("life", [timedelta(0), timedelta(seconds=-1), LONGEST_LIFE + timedelta(seconds=1)])
def test_no_token_is_issued_for_longer_than_fifteen_minutes_or_for_no_time(life: timedelta) -> None:
    with pytest.raises(ValueError, match="at most 900 seconds"):
        issued(life=life)


def test_the_library_is_new_enough() -> None:
    """Older ones accept unknown `crit` headers and take a public key for an HMAC secret (CVE-2026-32597 and others)."""
    assert Version(version("pyjwt")) >= Version("2.15.0")


def test_tokens_of_both_keys_are_good_while_one_follows_the_other() -> None:
    before = issued()
    rotated = Tokens(RING.rotated(), issuer=ISSUER)

    after = issued(rotated)

    assert RING.signer.id != rotated.ring.signer.id
    assert WHO == rotated.verified(before).user_id
    assert WHO == rotated.verified(after).user_id


def test_servers_that_have_not_seen_a_rotation_yet_take_its_tokens() -> None:
    """The signing key was published before it signed, so whoever cached the key set knows it."""
    after = issued(Tokens(RING.rotated(), issuer=ISSUER))

    assert WHO == TOKENS.verified(after).user_id


def test_a_key_is_refused_after_two_more_rotations() -> None:
    before = issued()

    with pytest.raises(Unauthenticated):
        Tokens(RING.rotated().rotated(), issuer=ISSUER).verified(before)


def test_every_signing_key_was_published_one_rotation_earlier() -> None:
    ring = RING
    for _ in range(5):
        published = {entry["kid"] for entry in ring.jwks["keys"]}
        ring = ring.rotated()

        assert ring.signer.id in published


def test_what_is_published_is_two_or_three_public_keys_under_their_thumbprints() -> None:
    for ring in (RING, RING.rotated(), RING.rotated().rotated()):
        entries = ring.jwks["keys"]

        assert len(entries) == len({entry["kid"] for entry in entries}) >= 2
        for entry in entries:
            assert {"crv", "kty", "x", "kid", "alg", "use"} == set(entry)
            assert ("OKP", "Ed25519", "EdDSA", "sig") == (entry["kty"], entry["crv"], entry["alg"], entry["use"])
            assert jwt.PyJWK(dict(entry)).key_id == entry["kid"]


def test_the_key_set_verifies_a_token_without_us() -> None:
    """A client of another make: PyJWT with the published key set and nothing else."""
    token = issued()
    keys = jwt.PyJWKSet.from_dict(RING.jwks)

    read = jwt.decode(token, keys[jwt.get_unverified_header(token)["kid"]], ["EdDSA"], audience="agentos")

    assert str(WHO) == read["sub"]


def test_no_key_means_no_server() -> None:
    with pytest.raises(ValueError, match="there is no signing key"):
        KeyRing([])


def test_keys_are_kept_where_only_their_owner_reads_and_nothing_else_is_left(tmp_path: Path) -> None:
    file = tmp_path / "keys" / "jwt.json"
    made = KeyRing.kept_in(file)

    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert made.jwks == KeyRing.kept_in(file).jwks
    assert [file] == list(file.parent.iterdir())


def test_rotated_keys_replace_the_file_at_once_and_stay_private(tmp_path: Path) -> None:
    file = tmp_path / "jwt.json"
    ring = KeyRing.kept_in(file)
    with file.open() as reader:
        old = reader.read(10)
        ring.rotated().keep_in(file)
        old += reader.read()

    assert ring.jwks == KeyRing.parsed(old).jwks, "who is reading the file meanwhile reads the old one whole"
    assert 3 == len(KeyRing.kept_in(file).jwks["keys"])
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [file] == list(tmp_path.iterdir())


def test_a_rotation_that_cannot_be_written_leaves_the_old_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "jwt.json"
    ring = KeyRing.kept_in(file)

    def disk_full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space"):
        ring.rotated().keep_in(file)

    assert ring.jwks == KeyRing.kept_in(file).jwks
    assert [file] == list(tmp_path.iterdir())


async def test_servers_that_start_at_once_agree_on_the_keys(tmp_path: Path) -> None:
    file = tmp_path / "jwt.json"

    rings = await asyncio.gather(*(asyncio.to_thread(KeyRing.kept_in, file) for _ in range(8)))

    assert [rings[0].jwks] * 8 == [ring.jwks for ring in rings]
    assert [file] == list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"{}",
        b"[]",
        b"[1]",
        b"null",
        b'["AAAA"]',
        b'["!!!!"]',
        b'["A"]',
        b'["\xc3\xa9"]',
        b"\xff\xfe\x00",
        RING.stored().encode()[:-20],
        RING.stored().replace('"', "'").encode(),
    ],
    # Named by place: keys differ in each process, and two workers must agree on what a test is called.
    ids=lambda damaged: hashlib.sha256(damaged).hexdigest()[:4] if len(damaged) < 20 else f"{len(damaged)} bytes",
)
def test_a_damaged_file_is_said_to_be_one_and_is_not_replaced(tmp_path: Path, damaged: bytes) -> None:
    """New keys in its place would sign everybody out and hide that something writes over the data directory."""
    file = tmp_path / "jwt.json"
    file.write_bytes(damaged)

    with pytest.raises(ValueError, match="the signing keys cannot be read"):
        KeyRing.kept_in(file)

    assert damaged == file.read_bytes()


def test_an_error_about_keys_has_no_key_in_it() -> None:
    stored = RING.stored()
    secret = json.loads(stored)[0]

    with pytest.raises(ValueError) as damaged:
        KeyRing.parsed(stored.replace(secret, secret[:20]))

    assert secret[:20] not in str(damaged.value)
