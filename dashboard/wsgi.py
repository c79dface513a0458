"""What gunicorn loads: `gunicorn -c dashboard/gunicorn.conf.py dashboard.wsgi:app`.

Once, before it forks: no reader waits for a template to be compiled, and what is there by now is looked at no more by
the garbage collector, whose walk over all of it would hold up every page of a process for a tenth of a second.
"""

import gc

from cxrscreen import starting
from dashboard import create_app

with starting.one_line():
    starting.look()
    app = create_app()
for name in app.jinja_env.list_templates():
    app.jinja_env.get_template(name)
gc.collect()
gc.freeze()
