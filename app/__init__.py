"""Newsletter: sign-up with double opt-in, provable consent, one-click leaving, mail that arrives.

The folders are layers, and each imports only downwards. `cli` starts `main`, which joins `web`
(HTTP in and out) and `worker` (mail out). Both call the verbs in `services`, which stand on `db`
(tables), `mail` (bytes on a wire) and `tokens` (links), and all of these on the rules in `domain`.
Every change of a subscription goes through one door, `services/subscriptions.apply`, in a list that
commits as one transaction (`services/groups`); every mail is a row in the outbox first.
"""
