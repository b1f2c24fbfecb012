"""Links of pages to files that are no pages, as in deploy/: on the site they are texts."""

import re

LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+(?:deploy|tests|scripts|gateway-ctl|README|CHANGELOG|SECURITY)[^)]*|(?:\.\./)*examples[^)]*)\)")


def on_page_markdown(markdown, **_):
    def text(match):
        label, target = match.groups()
        return f"`{target.lstrip('./')}`" if "`" not in label else label

    return LINK.sub(text, markdown)
