"""The pages of the site are those of the repository, at the same paths: links work in both."""

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
PAGES = ("*.md", "docs/**/*.md", "docs/images/*", "deploy/**/*.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Replace the files below docs/ by all pages of the repository, and keep those of the theme."""
    for file in [*files]:
        if file.src_dir == config.docs_dir:
            files.remove(file)
    for pattern in PAGES:
        for path in sorted(REPOSITORY.glob(pattern)):
            source = path.relative_to(REPOSITORY).as_posix()
            files.append(File(source, str(REPOSITORY), config.site_dir, config.use_directory_urls))
    return files
