"""Files and the runs of scheduled queries."""

from retry_engine.sandbox.objects.base import Obj, listing


def file(*, id: str, created: int, size: int, url: str, title: str) -> Obj:
    """A file that Stripe made; what is in it is fetched from `url`."""
    return {
        "id": id,
        "object": "file",
        "created": created,
        "expires_at": created + 7 * 86_400,
        "filename": f"{id}.csv",
        "links": listing([], f"/v1/file_links?file={id}"),
        "purpose": "sigma_scheduled_query",
        "size": size,
        "title": title,
        "type": "csv",
        "url": url,
    }


def scheduled_query_run(
    *, id: str, created: int, title: str, status: str, file: Obj | None, error: str | None
) -> Obj:
    """One run of a scheduled Sigma query."""
    run: Obj = {
        "id": id,
        "object": "scheduled_query_run",
        "created": created,
        "data_load_time": created - created % 86_400,
        "file": file,
        "livemode": False,
        "result_available_until": created + 7 * 86_400,
        "sql": "select 1",
        "status": status,
        "title": title,
    }
    return {**run, "error": {"message": error}} if error else run
