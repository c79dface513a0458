"""The Celery side: thin tasks over the queries of cxrscreen and the pixels and networks of the leaf rooms."""
