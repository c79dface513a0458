"""The errors a person may meet, as one tree; each message says what to do about it.

CxrscreenError                 exit status 1 on the command line, a page with its text in the dashboard
├── UsageError                 the request itself is wrong: status 2, HTTP 400
│   ├── OutsideRoots           a folder that the settings do not allow: HTTP 403
│   └── NoModel                nothing to screen with: status 2, HTTP 409
├── NotFound                   no such job, study, user, version: status 2, HTTP 404
├── Conflict                   somebody else was first; nothing was overwritten: HTTP 409
├── BundleDamaged              a model's files are not what they claim to be: status 2, HTTP 409
└── StackError                 the embedded stack cannot start or does not answer

A file that cannot be screened is no error of the system: see cxrscreen.imaging.reasons.
"""


class CxrscreenError(Exception):
    exit_status = 1
    http_status = 500


class UsageError(CxrscreenError):
    exit_status = 2
    http_status = 400


class OutsideRoots(UsageError):
    http_status = 403


class NoModel(UsageError):
    http_status = 409


class NotFound(CxrscreenError):
    exit_status = 2
    http_status = 404


class Conflict(CxrscreenError):
    http_status = 409


class BundleDamaged(CxrscreenError):
    exit_status = 2
    http_status = 409


class StackError(CxrscreenError):
    pass
