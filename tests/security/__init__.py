"""One named test for each item of two lists of OWASP that applies; docs/security.md has the tables."""
