"""What came of reports, and of suppressions."""

from retry_engine.entrypoints.rendering.terminal import Document


def show_heeded(found: Document) -> None:
    """What came of a bounce or a complaint: a line for what was done, one for each left alone."""
    if found["suppressed"]:
        many = "address is" if found["suppressed"] == 1 else "addresses are"
        print(f"{found['suppressed']} {many} not written to again ({found['reason']}).")
    for why in found["spared"]:
        print(f"Left as it is: {why}.")


def show_suppression(acts: list[Document]) -> None:
    """Who said what about writing to an address, a line each."""
    for act in acts:
        what = f"not to be written to: {act['reason']}" if act["reason"] else "may be written to"
        note = f" ({act['note']})" if act["note"] else ""
        print(f"{act['at']}  {what}, said {act['by']}{note}")
    if not acts:
        print("Nothing was ever said about this address.")
