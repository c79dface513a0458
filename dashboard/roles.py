"""What each role may do: shown to administrators, written in docs/roles.md, held against every address by a test."""

from __future__ import annotations

from cxrscreen.tables import Role

# The least role, the endpoints that it opens, and what that is to people. Each role may also do what stands above it.
RIGHTS = (
    (
        Role.OPERATOR,
        "worklist.* studies.show images.* pixels.* charts.index models.index models.show compare.show operating.index "
        "operating.show drift.show system.index",
        "See the worklist, studies and their pictures, charts, models and the state of the system",
    ),
    (Role.OPERATOR, "uploads.* tus.* groups.*", "Upload archives and files, and queue folders of the server"),
    (Role.OPERATOR, "jobs.* quarantine.*", "Watch, pause, cancel and retry jobs, and take away their tables"),
    (Role.OPERATOR, "schedules.* drift.see", "Set schedules, begin their runs, and mark alerts as seen"),
    (
        Role.OPERATOR,
        "auth.* tokens.*",
        "Change their own password, and make tokens for programs that ask in their name",
    ),
    (
        Role.OPERATOR,
        "api.list_jobs api.queue_folder api.show_job api.change_job api.list_entries api.list_studies api.show_study "
        "api.list_models metrics.show",
        "With such a token: queue folders, follow jobs, read studies and model versions, and watch the state",
    ),
    (Role.READER, "verdicts.* bulk.selected", "Give and take back verdicts, and assign studies"),
    (Role.READER, "agreement.index exports.reviewed", "See how readers agree, and take away the reviewed studies"),
    (
        Role.ADMIN,
        "compare.ask compare.activate compare.roll_back models.rescreen api.rescreen",
        "Activate a model version, roll it back, and screen the archive again with it",
    ),
    (Role.ADMIN, "operating.sign", "Sign for another threshold"),
    # Pages that all may open, and that show administrators more.
    (Role.ADMIN, "", "See a candidate version's answers beside those in use, and end other people's uploads"),
    (Role.ADMIN, "people.*", "Add people, set their roles, keep them out, and make sign-in links"),
    # What no other button takes back.
    (Role.ADMIN, "deletion.* clearing.*", "Delete studies, and clear the uploaded files of a job by hand"),
    (Role.ADMIN, "audit.index", "Read who did what, and who looked at what"),
)
