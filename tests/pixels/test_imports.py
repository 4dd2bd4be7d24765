import subprocess
import sys

# pydicom itself loads the other codecs.
HEAVY = ["apache_beam", "imagecodecs"]


def test_codecs_are_loaded_when_they_are_needed_and_beam_never() -> None:
    code = "import sys, dicomferry.pixels.convert\n"
    code += "print([name for name in sys.argv[1:] if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_pydicom_knows_the_transfer_syntaxes_that_are_written() -> None:
    code = (
        "import dicomferry.dicom.transfer_syntaxes as s\nfrom pydicom.uid import UID\n"
        "print(all(UID(uid).is_transfer_syntax for uid in s.SYNTAXES))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "True"
