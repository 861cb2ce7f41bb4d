"""The bank's customers, the accounts that each may use, and their standing orders.

Personal data (a name, a date of birth) lives here and nowhere in the books. Whatever is added twice is there once.
"""

from tallystick.customers.model import (
    Customer,
    Disposition,
    NewCustomer,
    NewStandingOrder,
    Role,
    Sex,
    StandingOrder,
)
from tallystick.customers.service import (
    accounts_of,
    add,
    add_dispositions,
    add_standing_orders,
    get,
    owner_names,
    page,
    standing_orders,
)

__all__ = [
    "Customer",
    "Disposition",
    "NewCustomer",
    "NewStandingOrder",
    "Role",
    "Sex",
    "StandingOrder",
    "accounts_of",
    "add",
    "add_dispositions",
    "add_standing_orders",
    "get",
    "owner_names",
    "page",
    "standing_orders",
]
