"""Bad input to every tool: the exit code, one line that names what is wrong, nothing else.

A case is a command line ({bad}: the folder of bad files of conftest.py) and a pattern of the line.
"""

from __future__ import annotations

import pytest

_EVALUATE = "evaluate --ground-truth {{bad}}/{} --predictions {{bad}}/{}"
_PREDICT = "predict --input {bad}/images --output out "
_TRAIN = "train --config-file DSB2018/unet_small.yaml "
_COCO = "convert coco --name mine --test --workers 1 --images {{bad}}/images --json {{bad}}/{}"
_LABELS = "convert labels --name mine --test --workers 1 --images {{bad}}/images --labels {}"
_TUNE = "tune --output-dir o --ground-truth {{bad}}/{} --predictions {{bad}}/{}"
_SEARCH = "search --config-file DSB2018/unet_small.yaml --output-dir out "

TRUTHS = {
    "no_images.json": "no images",
    "list.json": "COCO JSON",
    "id_list.json": r"id is \[1\]",
    "id_null.json": "id is None",
    "id_float.json": "id is 1.5",
    "name_number.json": "file_name is 7",
    "name_missing.json": "file_name is None",
    "height_0.json": "height is 0",
    "height_text.json": "height is '8'",
    "width_null.json": "width is None",
    "width_below.json": "width is -3",
    "image_id_list.json": r"image_id is \[1\]",
    "segmentation_null.json": "segmentation is None",
    "segmentation_text.json": "segmentation is 'here'",
    "segmentation_number.json": "segmentation is 5",
    "polygon_text.json": "list of numbers",
    "rle_size.json": r"size \[4, 4\]",
    "rle_counts.json": "counts",
    "rle_code.json": "character",
    "category_list.json": r"id is \[1\]",
    "category_name.json": "name is",
    "annotation_number.json": "found 3",
    "images_number.json": "COCO JSON",
    "deep.json": "nested too deeply",
    "cut.json": "not JSON",
    "empty.json": "not JSON",
    "binary.json": "not JSON",
    "none.json": "no such file",
    "images": "no such file",
}
PREDICTIONS = {
    "result_image.json": "image_id 2",
    "result_image_list.json": "result 0 is no COCO result",
    "result_score.json": "result 0 is no COCO result",
    "result_mask.json": "no COCO RLE",
    "result_category.json": "result 0 is no COCO result",
    "result_big.json": "result 0 is no COCO result",
    "good.json": "found a JSON dict",
    "deep.json": "nested too deeply",
    "cut.json": "not JSON",
    "columns.csv": "found columns name,code",
    "stranger.csv": "image 'b'",
    "odd.csv": "odd|pairs|numbers",
    "words.csv": "one",
    "zero.csv": "0|from 1",
    "beyond.csv": "beyond|outside|pixels",
    "huge.csv": "pixels|large|number",
    "nothing.csv": "not a csv",
    "nothing": "no label images",
    "broken": "cannot be read",
    "pipes": "not a regular file",
    "scalar.yaml": "ending with '.yaml'",
    "none": "no such file",
}
CONVERTED = {
    "no_images.json": "lists no images",
    "list.json": "COCO JSON",
    "id_list.json": r"id is \[1\]",
    "name_number.json": "file_name is 7",
    "height_0.json": "height is 0",
    "width_below.json": "width is -3",
    "image_id_list.json": r"image_id is \[1\]",
    "segmentation_null.json": "1 problem|segmentation None",
    "segmentation_number.json": "1 problem|segmentation 5",
    "polygon_text.json": "1 problem|in turn",
    "rle_size.json": "1 problem|size",
    "category_text.json": "is text",
    "category_list.json": r"id is \[1\]",
    "category_name.json": "name is",
    "annotation_number.json": "found '3'",
    "deep_member.json": "nested too deeply|not a COCO JSON",
    "cut.json": "cut off",
    "empty.json": "cut off",
    "binary.json": "cut off",
    "none.json": "no such file",
}
LABELS = {
    "{bad}/labels": "label -1",
    "{bad}/float_labels": "no whole numbers",
    "{bad}/object_labels": "no array",
    "{bad}/small_labels": "3x3 pixels",
    "{bad}/broken": "damaged|cut short",
    "{bad}/nothing": "label",
    "{bad}/none": "no such folder",
}
CONFIGS = {
    "runs.yaml": "python/object/apply",
    "scalar.yaml": "holds int",
    "empty.yaml": "holds nothing",
    "loop.yaml": "leads back",
    "remote.yaml": "on this machine",
    "missing_base.yaml": "no such config file",
    "tabs.yaml": "not readable as yaml",
    "unknown.yaml": "NO_SUCH_KEY",
    "type.yaml": "SOLVER",
    "deep.yaml": "deeply|not readable as yaml",
}
VALUES = {
    "TEST.NUCLEUS_DIAMETER 0": "TEST.NUCLEUS_DIAMETER is 0",
    "TEST.NUCLEUS_DIAMETER nan": "TEST.NUCLEUS_DIAMETER",
    "SOLVER.IMS_PER_BATCH 0": "SOLVER.IMS_PER_BATCH is 0",
    "SOLVER.MAX_ITER -1": "SOLVER.MAX_ITER is -1",
    "SOLVER.CHECKPOINT_PERIOD 0": "SOLVER.CHECKPOINT_PERIOD is 0",
    "SOLVER.BASE_LR -1.0": "SOLVER.BASE_LR is -1",
    "SOLVER.LR_SCHEDULER_NAME Cosine": "SOLVER.LR_SCHEDULER_NAME is 'Cosine'",
    "DATALOADER.NUM_WORKERS -1": "DATALOADER.NUM_WORKERS is -1",
    "DATALOADER.CACHE_MIB -1": "DATALOADER.CACHE_MIB is -1",
    "TEST.EVAL_PERIOD -5": "TEST.EVAL_PERIOD is -5",
    "TEST.SCORE_THRESHOLD 2": "score threshold",
    "INPUT.MAX_SIZE_TEST 0": "INPUT.MAX_SIZE_TEST is 0",
    "INPUT.CROP.ENABLED True INPUT.CROP.TYPE absolute INPUT.CROP.SIZE [0,0]": "INPUT.CROP.SIZE",
    "INPUT.CROP.ENABLED True INPUT.CROP.TYPE relative INPUT.CROP.SIZE [2,2]": "INPUT.CROP.SIZE",
    "INPUT.CROP.ENABLED True INPUT.CROP.SIZE [64]": "INPUT.CROP.SIZE",
    "MODEL.PIXEL_STD [0.0,1.0,1.0]": "MODEL.PIXEL_STD",
    "MODEL.ROI_HEADS.NUM_CLASSES 0": "MODEL.ROI_HEADS.NUM_CLASSES is 0",
    "MODEL.META_ARCHITECTURE MaskRNN": "MODEL.META_ARCHITECTURE is 'MaskRNN'",
    "MODEL.BACKBONE.NAME resnet": "MODEL.BACKBONE.NAME is 'resnet'",
    "MODEL.ROI_HEADS.NAME Heads": "MODEL.ROI_HEADS.NAME is 'Heads'",
    "MODEL.DEVICE mps": "device is 'mps'",
    "MODEL.DEVICE cuda:99": "device is 'cuda:99'",
    "MODEL.DEVICE abacus": "device is 'abacus'",
    "SOLVER.MAX_ITER": "even|pairs",
    "SOLVER.MAX_ITER many": "SOLVER.MAX_ITER|many",
    "NO.SUCH.KEY 1": "NO|key",
}
PREDICT_OPTIONS = {
    "--pixel-size 0": "--pixel-size 0.0",
    "--pixel-size 1e-7": "--pixel-size 1e-07",
    "--pixel-size 1e7": "--pixel-size 1",
    "--pixel-size nan": "--pixel-size nan",
    "--pixel-size inf": "--pixel-size inf",
    "--diameter 0": "diameter is 0",
    "--diameter nan": "diameter is nan",
    "--diameter big": "invalid",
    "--threshold 1": "score threshold",
    "--threshold -1": "expected one argument|score threshold",
    "--save mask": "no format 'mask'",
    "--z middle": "--z middle",
    "--num-gpus 0": "--num-gpus 0",
    "--num-machines 0": "--num-machines 0",
    "--num-machines 2": "--dist-url",
    "--machine-rank 3": "--machine-rank 3",
    "--config-file {bad}/none.yaml": "no such config file",
    "--config-file DSB2018/unet_small.yaml": "names no trained weights",
    "--threshold 0.5 MODEL.WEIGHTS none.pth": "none.pth: no such file",
    "--threshold 0.5 MODEL.WEIGHTS magic://x": "nothing is known of magic://",
    "--threshold 0.5 MODEL.WEIGHTS nucdet://none": "unknown model",
    "--threshold 0.5 MODEL.WEIGHTS ensemble://none.pth,b.pth": "none.pth: no such file",
    "--threshold 0.5 MODEL.DEVICE mps": "device is 'mps'",
}
OTHERS = {
    "predict --input  --output out": "--input ''",
    "predict --input {bad}/none --output out": "no such file or folder",
    "predict --input {bad}/nothing --output out": "found no images",
    "predict --input {bad}/pipe.png --output out": "no such file or folder",
    "predict --input {bad}/*.xyz --output out": "found no files",
    "predict --input {bad}/images --output {bad}/good.json": "exists|directory",
    _TRAIN + "--num-gpus 0": "--num-gpus 0",
    _TRAIN + "--num-gpus 3 SOLVER.IMS_PER_BATCH 4": "--num-gpus 3|multiple of 3",
    _TRAIN + "--perturb 0.1,0.1": "--eval-only",
    _TRAIN + '--eval-only DATASETS.TEST ("none",)': "'none' is not registered",
    "convert synthetic --size 100000": "--size 100000",
    "convert synthetic --size 0": "--size 0",
    "convert synthetic --images 0": "--images 0",
    "convert synthetic --val-fraction 2": "--val-fraction 2",
    "convert synthetic --seed -1": "expected one argument|--seed -1",
    "convert dsb2018 --root {bad}/none": "no such|not found",
    "convert dsb2018 --workers 1 --root {bad}/kaggle": "problem|pipe.png",
    "convert livecell --root {bad}/nothing": "no such|not found|missing|expected",
    "convert sartorius --root {bad}/nothing": "no such|not found|missing|expected",
    "convert": "required",
    "analyze --output out --annotations {bad}/none.json": "No such file",
    "analyze --output out --annotations {bad}/deep.json": "nested too deeply",
    "analyze --output out --annotations {bad}/height_0.json": "height is 0",
    "analyze --output out --annotations {bad}/id_list.json": r"id is \[1\]",
    "analyze --output out --annotations {bad}/list.json": "COCO JSON",
    "analyze --output out --annotations {bad}/good.json --input-size -1": "--input-size -1",
    "plot_training {bad}/none": "losses.csv: not found",
    "plot_training {bad}/run_text": "total_loss is 'hello' in row 3",
    "plot_training {bad}/run_part": "loss_mask is 'x'",
    "plot_training {bad}/run_iteration": "iteration is 'first'",
    "plot_training {bad}/run_empty": "not a csv",
    "plot_training {bad}/run_columns": "columns a, b",
    "plot_training {bad}/run_header": "found 0 rows",
    "plot_training {bad}/run --output curve.docx": "'.docx'",
    "plot_training {bad}/run --output curve": "found the ending ''",
    "visualize_results --output-dir o --dataset none --input {bad}/result.json": "not registered",
    "visualize_results --output-dir o --ground-truth {bad}/good.json --input {bad}/none": "no such",
    "visualize_results --output-dir o --input {bad}/result.json": "required",
    "visualize_data --config-file {bad}/none.yaml": "no such config file",
    "visualize_data --config-file DSB2018/unet_small.yaml --num -1": "-1|expected one argument",
    "visualize_stages --config-file {bad}/runs.yaml": "python/object/apply",
    _TUNE.format("id_list.json", "result.json"): r"\[1\]",
    _TUNE.format("good.json", "none.json"): "no such",
    _TUNE.format("good.json", "zero.csv"): "zero.csv",
    "cross_validate --config-file {bad}/empty.yaml": "holds nothing",
    "cross_validate --config-file DSB2018/unet_small.yaml --folds 1": "fold",
    "export_weights {bad}/none.pth --name x --output o": "none.pth|config",
    _SEARCH + "--grid SOLVER.BASE_LR": "--grid",
    _SEARCH + "--random SOLVER.BASE_LR=normal(0,1) --trials 2": "--random SOLVER.BASE_LR",
    _SEARCH + "--random NO.KEY=uniform(0,1) --trials 2": "no such key",
    _SEARCH + "--grid SOLVER.IMS_PER_BATCH=0,1": "SOLVER.IMS_PER_BATCH is 0",
}

CASES = {
    **{_EVALUATE.format(name, "result.json"): line for name, line in TRUTHS.items()},
    **{_EVALUATE.format("good.json", name): line for name, line in PREDICTIONS.items()},
    **{_COCO.format(name): line for name, line in CONVERTED.items()},
    **{_LABELS.format(folder): line for folder, line in LABELS.items()},
    **{"train --config-file {bad}/" + name: line for name, line in CONFIGS.items()},
    **{_TRAIN + pairs: line for pairs, line in VALUES.items()},
    **{_PREDICT + options: line for options, line in PREDICT_OPTIONS.items()},
    **OTHERS,
}


@pytest.mark.parametrize("command", CASES)
def test_bad_input_is_one_line_and_code_2(command, answer, judge, bad, tmp_path):
    name, *arguments = (text.format(bad=bad) for text in command.split(" "))
    code, error = answer(name, *(text for text in arguments))
    assert judge(code, error, CASES[command]) == "one clear line", (code, error)
    assert not (tmp_path / "hacked").exists()


def test_there_are_enough():
    assert len(CASES) >= 120
