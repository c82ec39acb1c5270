"""The app's icons as PNG, drawn from assets/logo.svg: as it is, and with room for a mask."""

from pathlib import Path

from playwright.sync_api import sync_playwright

from tests.browser import install

ROOT = Path(__file__).parents[1]
# A mask may cut away all but a circle of 80 % of the width.
ICONS = {"icon-192.png": (192, 1.0), "icon-512.png": (512, 1.0),
         "icon-maskable-512.png": (512, 0.7)}
FRAME = """<body style="margin:0;width:{size}px;height:{size}px;display:grid;place-items:center;
background:{ground}"><div style="width:{inner}px;height:{inner}px;line-height:0">{logo}</div>"""


def main() -> None:
    logo = (ROOT / "assets/logo.svg").read_text(encoding="utf-8")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=install(), args=["--no-sandbox"])
        for name, (size, share) in ICONS.items():
            page = browser.new_page(viewport={"width": size, "height": size})
            whole = share == 1.0
            page.set_content(FRAME.format(size=size, inner=round(size * share), logo=logo,
                                          ground="transparent" if whole else "#0f7f95"))
            page.screenshot(path=ROOT / "assets" / name, omit_background=whole)


if __name__ == "__main__":
    main()
