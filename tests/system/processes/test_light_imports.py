"""What may be imported without torch and its like."""

import subprocess
import sys


def test_importing_it_needs_no_heavy_package():
    heavy = "{'torch', 'numpy', 'sklearn', 'mmseg', 'cv2'}"
    code = (
        "import sys, tasks.vision.data.digit_scenes, tasks.vision.data.camvid, "
        f"tasks.longtail_seg.recipes; print(sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_import_is_light():
    code = "import sys, tasks.test_agnostic.distributions; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
