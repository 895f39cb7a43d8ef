"""What the scripted model is asked about: support tickets, the teams that answer them, and the rules they go by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

INSTRUCTION: Final = "Route the support ticket to the team that answers it."
TEAMS: Final = ("billing", "care", "legal", "shipping", "technical")
# The rules of this house, half of them not what one would guess, and six tickets for each: two to learn from, two to
# choose an instruction by, two to score it on.
TICKETS: Final[Mapping[str, tuple[str, ...]]] = {
    "Tickets about an unknown or double charge go to legal.": (
        "There is a charge of 49 euros on my card that is unknown to me.",
        "I was charged twice. Please explain the double payment.",
        "An unknown company with your name took a payment from my account.",
        "My statement shows a double charge for the blue lamp.",
        "Who made this charge? The amount is unknown to me.",
        "You took the price of the chair double.",
    ),
    "Tickets about a broken or damaged parcel go to billing.": (
        "The parcel came today and the vase in it is broken.",
        "My package was damaged by the courier, the lid is bent.",
        "The delivery arrived, but two of the six glasses are broken.",
        "A damaged box, a wet book: what a parcel!",
        "The mirror was broken when I opened the package.",
        "Your courier handed me a damaged parcel.",
    ),
    "Tickets about a forgotten password or a locked account go to care.": (
        "I have forgotten my password and the mail does not come.",
        "My account is locked since this morning.",
        "The website says that my account was locked.",
        "What do I do about a forgotten password?",
        "Three wrong tries and now the account is locked.",
        "My daughter has forgotten the password of her account.",
    ),
    "Tickets about cancelling or pausing a subscription go to care.": (
        "Please cancel my subscription at the end of the month.",
        "Can I pause the subscription while I am abroad?",
        "I want to cancel the coffee subscription, it is too much.",
        "Is pausing for two months possible?",
        "How does one cancel the monthly box?",
        "We are moving, so we would like to pause our subscription.",
    ),
    "Tickets about a late or lost parcel go to shipping.": (
        "My parcel is four days late.",
        "The courier says that the package is lost.",
        "Is my delivery lost? Nobody knows where it is.",
        "The parcel was promised for Monday and is late.",
        "Late again! When does the package come?",
        "I think that the courier lost my parcel.",
    ),
    "Tickets about an error or a crash of the app go to technical.": (
        "The app shows error 17 when I search.",
        "Since the update the app crashes on my phone.",
        "Every photo I add makes the app crash.",
        "The website answers with an error page.",
        "An error appears when I open my basket.",
        "After a crash of the app my list was empty.",
    ),
    "Tickets about an invoice or a receipt go to billing.": (
        "Please send the invoice for order 1180 again.",
        "I need a receipt with the name of my firm.",
        "The address on the invoice is wrong.",
        "Where do I find the receipt for last week's payment?",
        "Our accountant asks for the invoice of May.",
        "No receipt was in the parcel.",
    ),
}


def labelled(which: slice) -> list[tuple[str, str, str]]:
    """Return tickets with their team and their rule, those of each rule that `which` selects."""
    chosen = ((rule, ticket) for rule, tickets in TICKETS.items() for ticket in tickets[which])
    return [(ticket, rule.removesuffix(".").split()[-1], rule) for rule, ticket in chosen]
