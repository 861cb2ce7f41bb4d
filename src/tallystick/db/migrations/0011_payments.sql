-- Money that leaves the bank or comes in: nostro accounts, external payments, reconciliation with other banks' statements.
create schema payments;
