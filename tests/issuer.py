"""An issuer of OpenID Connect over HTTP that a test can have lie: it checks PKCE and takes a code once, as it must, and gives
whatever token it is told to."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm


class Issuer:
    """`claims`, `header` and `key` are what the next tokens are made of, beside what is right."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.published: dict[str, Any] = {}
        self.claims: dict[str, Any] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self.rotate("first")

    def rotate(self, kid: str) -> None:
        """Sign with a new key from now on, and publish that one alone."""
        self.kid = kid
        self.private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.published = {"keys": [{**json.loads(RSAAlgorithm.to_jwk(self.private.public_key())), "kid": kid, "use": "sig"}]}

    def code(self, location: str, subject: str) -> tuple[str, str]:
        """What somebody brings back who signs in as `subject` where a redirect led: the code and the state."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        code = f"code-{len(self._codes)}"
        self._codes[code] = asked | {"sub": subject}
        return code, asked["state"]

    def token(self, subject: str, audience: str, *, alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        """A token as it should be, but for what is said here."""
        now = int(time.time())
        said = {"iss": self.url, "aud": audience, "sub": subject, "iat": now, "exp": now + 300} | claims
        kept = {name: value for name, value in said.items() if value is not None}
        return jwt.encode(kept, self.private if key is None else key, algorithm=alg, headers={"kid": self.kid})

    def answer(self, method: str, path: str, form: dict[str, str]) -> tuple[int, Any]:
        self.asked.append(path)
        if path == "/.well-known/openid-configuration":
            return 200, {
                "issuer": self.url,
                "authorization_endpoint": f"{self.url}/authorize",
                "token_endpoint": f"{self.url}/token",
                "jwks_uri": f"{self.url}/keys",
            }
        if path == "/keys":
            return 200, self.published
        asked = self._codes.pop(form.get("code", ""), None) if (method, path) == ("POST", "/token") else None
        if (
            asked is None
            or asked["redirect_uri"] != form["redirect_uri"]
            or _s256(form["code_verifier"]) != asked["code_challenge"]
        ):
            return 400, {"error": "invalid_grant"}
        made = dict(self.claims)
        raw = made.pop("raw", None)
        token = raw or self.token(asked["sub"], asked["client_id"], **({"nonce": asked["nonce"]} | made))
        return 200, {"access_token": "x", "token_type": "Bearer", "id_token": token}


def _s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


@contextmanager
def issuing() -> Iterator[Issuer]:
    """An issuer on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET", {})

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            self._answer("POST", {name: values[0] for name, values in parse_qs(body).items()})

        def _answer(self, method: str, form: dict[str, str]) -> None:
            status, content = issuer.answer(method, urlsplit(self.path).path, form)
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    issuer = Issuer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()
