"""What gunicorn loads: `gunicorn -c dashboard/gunicorn.conf.py dashboard.wsgi:app`."""

from dashboard import create_app

app = create_app()
