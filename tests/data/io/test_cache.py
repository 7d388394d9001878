import cv2
import numpy as np

from nucdet.data.io.cache import ImageCache


def test_images_are_kept_until_the_limit_and_cannot_be_changed(tmp_path):
    paths = [str(tmp_path / f"{i}.png") for i in range(2)]
    for i, path in enumerate(paths):
        cv2.imwrite(path, np.full((256, 256, 3), i, np.uint8))  # 192 KiB each
    read = ImageCache(0.25)
    first, second = map(read, paths)
    for path in paths:
        cv2.imwrite(path, np.full((256, 256, 3), 9, np.uint8))
    assert read(paths[0]) is first and not first.flags.writeable
    assert (first == 0).all() and (second == 1).all() and second.flags.writeable
    assert (read(paths[1]) == 9).all()
