"""Sentences that stand elsewhere and end up on pages: listed, so that the catalogues have them."""


def marked(sentence: str) -> str:
    """Return the sentence; for `pybabel extract` it is a text to translate."""
    return sentence


TITLES = (
    marked("The request cannot be read"),
    marked("Not found"),
    marked("No longer valid"),
    marked("This kind of body is not taken"),
    marked("Some values are not valid"),
    marked("The database is away"),
    marked("The database is not ready"),
    marked("Too busy"),
    marked("Too many requests"),
    marked("Method not allowed"),
    marked("Too large"),
    marked("Something went wrong"),
    marked("The request failed"),
    marked("This link is no longer valid"),
    marked("Too late to undo"),
)
DETAILS = (
    marked("This is not a complete link of ours. Copy the whole link from the mail."),
    marked("There is no such newsletter here. Check the address of the page."),
    marked("There is no such newsletter."),
    marked("Nothing is kept about you any more."),
    marked("Links to change everything work for an hour. Ask for a new one."),
    marked("For this, ask for a new link."),
    marked("No privacy policy has been published yet."),
    marked("There is nothing at this address."),
    marked("Send a well-formed request."),
    marked("Send the form in UTF-8."),
    marked("The form cannot be read as UTF-8."),
    marked("The multipart form cannot be read."),
    marked("The multipart form is cut short or not in UTF-8."),
    marked("Send no files."),
    marked("See the Allow header for what is."),
    marked("Send a smaller body."),
    marked("It has been logged. Try again later."),
    marked("Check the request."),
    marked("The database is away. Try again in a moment."),
    marked("Migrations are pending: run newsletter migrate."),
    marked("Too many requests are waiting. Try again in a moment."),
    marked("There were too many requests. Please try again a little later."),
    marked("Leaving can be undone for 15 minutes. You can sign up again at any time."),
    marked("You have left this newsletter since this mail was sent, so its link is void."),
    marked("Links in confirmation mails work for a limited time, and this one is too old."),
)
FAULTS = (
    marked("Enter a valid e-mail address, such as name@example.org."),
    marked("Use at most 64 characters before the @."),
    marked("Use at most 254 characters."),
    marked("Use at most 100 characters."),
    marked("Remove control characters and invisible direction marks."),
    marked("Remove the characters =? from this text."),
    marked("A name cannot contain a link."),
    marked("Send this once."),
    marked("Choose one of the pauses."),
    marked("Tick the box to be erased."),
    marked("Tick the box to agree; without it we cannot send you anything."),
    marked("Name a newsletter: there is no default."),
    marked("This newsletter has no such consent text."),
    marked("This version has been superseded. Show the current one."),
    marked("There is no such version. Show the current one."),
)
LABELS = (marked("All newsletters"), marked("Sign up again"))
