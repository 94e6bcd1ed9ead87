"""The index behind an HTTP API and a web page.

    rag-qa serve --index rag-index

From the outside in: `guard` refuses what must not reach a route (wrong host, origin, key, rate, size), `keys` says who
asks, `fastapi_api` puts the routes of `documents_api`, `asking_api` and `operations_api` together, `library` is what
they know of the index, `conversations` and `analytics` remember. Permissions are enforced in the store's query, which
gets the caller's groups; nothing here filters results afterwards.

Not covered: TLS (put a reverse proxy before it) and several processes for one index.
"""
