"""Words to customers: about open invoices, before renewals, and who wants none."""
