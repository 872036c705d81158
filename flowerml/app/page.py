"""The page: its tabs by the models there are, and its looks. Everything comes from this machine, fonts too."""

from importlib import resources

import gradio as gr
from fastapi import FastAPI

from flowerml.app.models import AppModels
from flowerml.app.photo_tabs import photo_tab, table_tab
from flowerml.app.relation_tab import relation_tab
from flowerml.app.uploads import MAX_FILE_MB

_WAITING = 32  # requests in the queue: further ones are refused
_HOUR_S = 3600
_FONTS = ["system-ui", "sans-serif"]  # of the reader's system: none is loaded
_MONOSPACE = ["ui-monospace", "monospace"]


def build_page(models: AppModels) -> FastAPI:
    """The page as an ASGI application, at `/`. Set Gradio's folder for uploads (GRADIO_TEMP_DIR) before."""
    with gr.Blocks(
        title="flowerml", fill_width=True, analytics_enabled=False, delete_cache=(_HOUR_S, _HOUR_S)
    ) as blocks:
        gr.Markdown(f"Pictures, up to {MAX_FILE_MB} MB each, stay on this machine.")
        with gr.Tabs():
            if models.classifiers:
                with gr.Tab("One photo"):
                    photo_tab(models.classifiers)
                with gr.Tab("Several photos"):
                    table_tab(models.classifiers)
            if models.relations:
                with gr.Tab("Relations"):
                    relation_tab(models.relations)
    blocks.queue(max_size=_WAITING)
    page = gr.mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=f"{MAX_FILE_MB}mb",
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=gr.themes.Default(primary_hue="green", font=_FONTS, font_mono=_MONOSPACE),
        head=f"<style>{_style()}</style>",  # as `css` it would be rewritten, and lose its rules for small screens
    )
    # What `launch` sets and mounting does not. Without the first Gradio takes any path of this machine for an upload;
    # without the second it sends no heartbeats.
    blocks.has_launched = blocks.is_running = True
    return page


def _style() -> str:
    return (resources.files("flowerml.app") / "templates" / "page.css").read_text("utf-8")
