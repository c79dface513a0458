"""The dashboard: uploads, jobs, the worklist and verdicts, models, and what an administrator looks at."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from flask import Flask
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import IntegerConverter

from cxrscreen.settings import get_settings
from dashboard import (
    agreement,
    api,
    assets,
    audit,
    auth,
    bulk,
    charts,
    clearing,
    compare,
    deeds,
    deletion,
    drift,
    errors,
    exports,
    filters,
    groups,
    identity,
    images,
    jobs,
    languages,
    metrics,
    models,
    operating,
    people,
    pixels,
    quarantine,
    schedules,
    security,
    shell,
    studies,
    system,
    tokens,
    tus,
    uploads,
    verdicts,
    watched,
    worklist,
)
from dashboard.receiving import ReceivingRequest

ROOMS = (
    *(agreement, api, audit, auth, bulk, charts, clearing, compare, deletion, drift, exports, groups, images),
    *(jobs, metrics, models, operating, people),
    languages,
    *(pixels, quarantine, schedules, studies, system, tokens, tus, uploads, verdicts, worklist),
)


class IdConverter(IntegerConverter):
    """A number that a database can hold; a longer one is no address."""

    regex = r"\d{1,15}"


class Dashboard(Flask):
    request_class = ReceivingRequest


def create_app() -> Flask:
    """Make the WSGI application from the settings of this process."""
    settings = get_settings()
    app = Dashboard(__name__, static_folder=None)
    secret = settings.session_secret()
    app.config.update(
        SECRET_KEY=secret,
        # Cookies know no ports: two installations on one host must not sign each other out.
        SESSION_COOKIE_NAME=f"cxrscreen_{hashlib.sha256(secret.encode()).hexdigest()[:8]}",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.secure_cookies,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        # A session ends so long after its sign-in, however busy it is; and a picture that comes late must not bring
        # back the cookie from before a verdict, which has no way to take that verdict back.
        SESSION_REFRESH_EACH_REQUEST=False,
        MAX_CONTENT_LENGTH=int(settings.max_upload_gb * 1e9),
        MAX_FORM_PARTS=50_000,  # a folder that is dropped on the page is one part a file
        # A form may be sent hours after its page came (a long upload, a case read over lunch); the token still
        # belongs to this session alone.
        WTF_CSRF_TIME_LIMIT=None,
        # The guard in `security` checks it, after it knows who asks and before a body is read.
        WTF_CSRF_CHECK_DEFAULT=False,
    )
    app.jinja_options = {"trim_blocks": True, "lstrip_blocks": True}
    app.url_map.converters["id"] = IdConverter
    assets.install(app)
    languages.install(app)
    security.install(app)
    identity.install(app)
    errors.install(app)
    filters.install(app)
    deeds.install(app)
    shell.install(app)
    watched.install(app)
    for room in ROOMS:
        app.register_blueprint(room.blueprint)
    if settings.trusted_proxies:
        count = settings.trusted_proxies
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]
            app.wsgi_app, x_for=count, x_proto=count, x_host=count, x_port=count
        )
    return app
