"""What people read, in their language: gettext catalogues, and the choice among them.

English is what stands in the templates; `<language>.po` holds the rest. After a change of texts
`pybabel extract -F app/languages/babel.cfg -o /tmp/texts.pot app` and `pybabel update -i
/tmp/texts.pot -l de -o app/languages/de.po --no-fuzzy-matching` bring a catalogue up to date; a
test names what is missing. A catalogue is compiled when somebody first needs it.
"""
