"""What to take home of a trial: its variant in every text format, and the commands that write a trained network."""

import streamlit as st

from dashboard.downloads import CARRIERS, Download, every_download, export_command
from dashboard.plain import as_text
from studies.provenance import trial_document
from studies.records import StudyRecord, Trial


def show_downloads(study: StudyRecord, trial: Trial, *, recorded: bool) -> None:
    """A button for every text format, and a command for what needs PyTorch; `recorded` when the search kept the trial's weights."""
    files = every_download(trial_document(study.name, trial).to_json())
    with st.container(horizontal=True):
        for name, file in files.items():
            _button(name, file)
    st.caption("Each file carries its provenance and reads back: `nas cost FILE`, `nas train FILE`. The folder of huggingface is zipped.")
    st.markdown("**Trained network**")
    if not recorded:
        st.caption(
            "No weights of this trial are recorded: searches keep those of the front, with `--keep-weights all` those of every trial. "
            "`--weights` names a file of them."
        )
    for name, what in CARRIERS.items():
        st.caption(f"{name}: {as_text(what)}")
        st.code(export_command(study.name, trial.number, name, recorded=recorded), language="bash", wrap_lines=True)


def _button(format: str, file: Download | str) -> None:
    """A button that saves the file; without one it says why on hovering."""
    if isinstance(file, str):
        st.button(format, disabled=True, help=as_text(file), key=f"download-{format}", icon=":material/block:")
        return
    st.download_button(
        format,
        file.data,
        file.name,
        file.mime,
        key=f"download-{format}",
        on_click="ignore",
        icon=":material/download:",
    )
