"""The Gradio theme: bundled fonts, sizes, shapes; colours by their names in assets/style.css."""

import gradio as gr
from gradio.themes.utils.fonts import LocalFont

# The bundled SemiBold of this family lacks most letters, so bold is 700 everywhere.
SANS = LocalFont("IBM Plex Sans", weights=(400, 700))
MONO = LocalFont("IBM Plex Mono", weights=(400, 700))

# The bundled files hold Latin letters only; these come with Windows, macOS and most Linux desktops.
CHINESE = ("PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC")

SIZES = {
    "block_border_width": "1px",
    "block_info_text_size": "13px",
    "block_label_text_size": "*text_sm",
    "block_label_text_weight": "700",
    "block_padding": "12px 14px",
    "block_radius": "10px",
    "block_shadow": "none",
    "block_title_text_size": "*text_md",
    "block_title_text_weight": "700",
    "button_large_padding": "10px 20px",
    "button_large_radius": "8px",
    "button_large_text_size": "*text_md",
    "button_large_text_weight": "700",
    "button_medium_padding": "8px 16px",
    "button_medium_radius": "8px",
    "button_medium_text_weight": "700",
    "button_small_radius": "7px",
    "button_small_text_weight": "400",
    "button_border_width": "1px",
    "checkbox_border_radius": "4px",
    "checkbox_label_border_width": "1px",
    "checkbox_label_text_weight": "400",
    "container_radius": "10px",
    "form_gap_width": "0px",
    "input_border_width": "1px",
    "input_padding": "9px 12px",
    "input_radius": "8px",
    "input_shadow": "none",
    "input_text_weight": "400",
    "layout_gap": "14px",
    "prose_header_text_weight": "700",
    "section_header_text_weight": "700",
    "table_radius": "8px",
}

# Gradio's variable -> the colour's name in style.css, which holds the light and the dark value.
COLOURS = {
    "accordion_text_color": "ink",
    "background_fill_primary": "surface",
    "background_fill_secondary": "sunken",
    "block_background_fill": "surface",
    "block_border_color": "line",
    "block_info_text_color": "muted",
    "block_label_background_fill": "surface",
    "block_label_border_color": "line",
    "block_label_text_color": "muted",
    "block_title_text_color": "ink",
    "body_background_fill": "page",
    "body_text_color": "ink",
    "body_text_color_subdued": "muted",
    "border_color_accent": "accent",
    "border_color_accent_subdued": "accent-line",
    "border_color_primary": "line",
    "button_cancel_background_fill": "error-fill",
    "button_cancel_background_fill_hover": "error-fill-hover",
    "button_cancel_border_color": "error-fill",
    "button_cancel_border_color_hover": "error-fill-hover",
    "button_cancel_text_color": "on-fill",
    "button_cancel_text_color_hover": "on-fill",
    "button_primary_background_fill": "fill",
    "button_primary_background_fill_hover": "fill-hover",
    "button_primary_border_color": "fill",
    "button_primary_border_color_hover": "fill-hover",
    "button_primary_text_color": "on-fill",
    "button_primary_text_color_hover": "on-fill",
    "button_secondary_background_fill": "surface",
    "button_secondary_background_fill_hover": "sunken",
    "button_secondary_border_color": "line-strong",
    "button_secondary_border_color_hover": "muted",
    "button_secondary_text_color": "ink",
    "button_secondary_text_color_hover": "ink",
    "checkbox_background_color": "surface",
    "checkbox_background_color_focus": "surface",
    "checkbox_background_color_hover": "surface",
    "checkbox_background_color_selected": "check",
    "checkbox_border_color": "field-line",
    "checkbox_border_color_focus": "accent",
    "checkbox_border_color_hover": "accent",
    "checkbox_border_color_selected": "check",
    "checkbox_label_background_fill": "surface",
    "checkbox_label_background_fill_hover": "sunken",
    "checkbox_label_background_fill_selected": "accent-soft",
    "checkbox_label_border_color": "line-strong",
    "checkbox_label_border_color_hover": "accent",
    "checkbox_label_border_color_selected": "accent",
    "checkbox_label_text_color": "ink",
    "checkbox_label_text_color_selected": "ink",
    "code_background_fill": "sunken",
    "color_accent": "accent",
    "color_accent_soft": "accent-soft",
    "error_background_fill": "error-soft",
    "error_border_color": "error",
    "error_icon_color": "error",
    "error_text_color": "error",
    "input_background_fill": "field",
    "input_background_fill_focus": "field",
    "input_background_fill_hover": "field",
    "input_border_color": "field-line",
    "input_border_color_focus": "accent",
    "input_border_color_hover": "muted",
    "input_placeholder_color": "muted",
    "link_text_color": "accent",
    "link_text_color_active": "accent",
    "link_text_color_hover": "accent-strong",
    "link_text_color_visited": "accent",
    "loader_color": "accent",
    "panel_background_fill": "surface",
    "panel_border_color": "line",
    "slider_color": "accent",
    "stat_background_fill": "accent-soft",
    "table_border_color": "line",
    "table_even_background_fill": "surface",
    "table_odd_background_fill": "surface",
    "table_row_focus": "accent-soft",
    "table_text_color": "ink",
}


def theme() -> gr.themes.Base:
    """The look of the page; works without a network. Pass `css_paths=["assets/style.css"]` too."""
    base = gr.themes.Base(
        primary_hue="cyan",
        neutral_hue="slate",
        spacing_size="md",
        text_size="md",
        font=[SANS, "system-ui", *CHINESE, "sans-serif"],
        font_mono=[MONO, "ui-monospace", "Consolas", *CHINESE, "monospace"],
    )
    colours = {name: f"var(--td-{colour})" for name, colour in COLOURS.items()}
    # One name serves both modes, because style.css changes what it stands for under `.dark`;
    # Gradio's own dark values would win if they stayed.
    dark = {
        f"{name}_dark": colour
        for name, colour in colours.items()
        if hasattr(base, f"{name}_dark")
    }
    return base.set(**SIZES, **colours, **dark)
