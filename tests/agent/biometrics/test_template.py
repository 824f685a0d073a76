import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.biometrics import BiometricError, Features, Modality, ModelMismatch, Pipelines, Template
from agent.biometrics.minutiae import check_vector
from agent.biometrics.values import SIDE_BYTES
from tests.agent.biometrics.made import IMPRESSION


def features(modality: Modality, seed: int = 0, model: str = "m/1") -> Features:
    if modality is Modality.FINGERPRINT:
        return Features(modality, model, IMPRESSION)
    length = 128 if modality is Modality.FACE else 192
    vector = np.random.default_rng(seed).integers(-3000, 3000, length).astype(np.int16)
    return Features(modality, model, vector)


@pytest.mark.parametrize("modality", Modality)
def test_a_template_survives_its_byte_form(modality: Modality):
    template = Template.of([features(modality, seed) for seed in range(3)])
    copy = Template.from_bytes(template.to_bytes())
    assert (copy.modality, copy.model, copy.parameters) == (template.modality, template.model, template.parameters)
    assert all(np.array_equal(*pair) for pair in zip(copy.vectors, template.vectors, strict=True))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused(data: bytes):
    with pytest.raises(BiometricError):
        Template.from_bytes(data)


@given(st.data())
def test_a_changed_template_is_refused_or_still_well_formed(data: st.DataObject):
    original = bytearray(Template.of([features(Modality.FINGERPRINT)] * 3).to_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        original[data.draw(st.integers(0, len(original) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(original)))
    for hostile in (bytes(original), bytes(original[:cut])):
        try:
            template = Template.from_bytes(hostile)
        except BiometricError:
            continue
        for vector in template.vectors:
            check_vector(vector)


@pytest.mark.parametrize(
    "change",
    [
        {0: 1},
        {1: "gait"},
        {4: []},
        {4: [b"\x00\x01"] * 3},
        {4: [b"\x00"] * 3},
        {4: [IMPRESSION.tobytes()] * 7},
        {5: []},
        {5: [b"x"] * 2},
        {5: [bytes(SIDE_BYTES + 1)] + [b""] * 2},
        {6: "more"},
    ],
)
def test_a_wrong_field_is_refused(change: dict[int, object]):
    fields = msgspec.msgpack.decode(Template.of([features(Modality.FINGERPRINT)] * 3).to_bytes())
    assert Template.from_bytes(msgspec.msgpack.encode(fields))
    for index, value in change.items():
        fields[index : index + 1] = [value]
    with pytest.raises(BiometricError):
        Template.from_bytes(msgspec.msgpack.encode(fields))


def test_an_oversized_template_is_refused_before_it_is_decoded():
    with pytest.raises(BiometricError, match="longer"):
        Template.from_bytes(bytes(1_048_577))


def test_too_few_and_too_many_samples_are_refused():
    for count in (0, 2, 7):
        with pytest.raises(BiometricError):
            Template.of([features(Modality.FINGERPRINT)] * count)


def test_samples_of_different_models_make_no_template():
    with pytest.raises(ModelMismatch):
        Template.of([features(Modality.FACE), features(Modality.FACE, model="m/2")])


def test_a_probe_of_another_model_is_refused_with_the_remedy_to_enrol_again():
    template = Template.of([features(Modality.FACE)])
    with pytest.raises(ModelMismatch) as caught:
        Pipelines().match(template, features(Modality.FACE, model="m/2"))
    assert "Enrol" in caught.value.remedy
    assert Pipelines().match(template, features(Modality.FACE)).accepted


def test_a_template_of_other_parameters_is_refused():
    fields = msgspec.msgpack.decode(Template.of([features(Modality.FACE)]).to_bytes())
    fields[3] = "0"
    with pytest.raises(ModelMismatch):
        Pipelines().match(Template.from_bytes(msgspec.msgpack.encode(fields)), features(Modality.FACE))


def test_a_probe_of_another_modality_is_refused():
    with pytest.raises(BiometricError):
        Pipelines().match(Template.of([features(Modality.FACE)]), features(Modality.VOICE))


def test_what_lies_beside_a_vector_comes_back_with_it():
    samples = [Features(Modality.FACE, "m/1", features(Modality.FACE).vector, bytes([n])) for n in range(3)]
    assert Template.from_bytes(Template.of(samples).to_bytes()).sides == (b"\0", b"\1", b"\2")


def test_vectors_of_different_length_neither_join_nor_compare():
    short, long = (Features(Modality.FACE, "m/1", np.ones(length, np.int16)) for length in (128, 512))
    with pytest.raises(BiometricError, match="differ in length"):
        Template.of([short, long])
    with pytest.raises(ModelMismatch, match="another length"):
        Pipelines().match(Template.of([short]), long)
