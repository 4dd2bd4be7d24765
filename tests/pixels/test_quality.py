import pytest

from dicomferry.pixels.quality import DEFAULT_QUALITY, Quality


def test_the_defaults_are_valid() -> None:
    assert DEFAULT_QUALITY.validate() == Quality(90, 10.0, 2, 1.0)


@pytest.mark.parametrize(
    ("quality", "remedy"),
    [
        (Quality(jpeg_quality=0), "try 90"),
        (Quality(jpeg_quality=101), "try 90"),
        (Quality(j2k_ratio=1.0), "try 10"),
        (Quality(j2k_ratio=float("nan")), "try 10"),
        (Quality(jpegls_near=0), r"4\.80, which is lossless"),
        (Quality(jpegls_near=256), "try 2"),
        (Quality(jxl_distance=0.0), r"4\.110, which is lossless"),
        (Quality(jxl_distance=26.0), r"try 1\.0"),
    ],
)
def test_a_value_out_of_range_is_refused_with_the_remedy(quality: Quality, remedy: str) -> None:
    with pytest.raises(ValueError, match=remedy):
        quality.validate()
