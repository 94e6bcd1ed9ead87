"""What the API takes and gives, with an example of each."""

from pydantic import BaseModel, ConfigDict, Field


class PredictRequest(BaseModel):
    """Texts to label."""

    # Strict: "yes" is no truth value, and 1 no text. A misspelt field is an error and not ignored.
    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        json_schema_extra={"examples": [{"texts": ["A film to see twice.", "Never again."], "explain": False}]},
    )

    texts: list[str] = Field(description="The texts, at least one.")
    explain: bool = Field(default=False, description="Also score each word by how much it speaks for the label.")


class WordScore(BaseModel):
    """A word of the text and what it says for the label."""

    text: str = Field(description="The word as it stands in the text.", examples=["film"])
    start: int = Field(description="Where it begins, in Unicode code points from 0.", examples=[2])
    end: int = Field(description="Where the next character is.", examples=[6])
    score: float | None = Field(
        description="Above 0 it speaks for the label, below against it, in log-odds (integrated gradients). "
        "null: the model does not see it, because the text is cut before.",
        examples=[0.41],
    )


class TextPrediction(BaseModel):
    """What the model says about one text."""

    label: str = Field(description="The most probable label.", examples=["positive"])
    unsure: bool = Field(
        description="Its probability is below the server's threshold: treat the text as undecided.", examples=[False]
    )
    probability: float = Field(description="Calibrated probability of the label.", examples=[0.91])
    probabilities: dict[str, float] = Field(
        description="Of every label; they add up to 1.",
        examples=[{"negative": 0.03, "neutral": 0.06, "positive": 0.91}],
    )
    words: list[WordScore] | None = Field(
        default=None, description="The words in their order, where `explain` is set; else null."
    )


class PredictResponse(BaseModel):
    """One prediction a text, in the order of the request."""

    predictions: list[TextPrediction]


class Health(BaseModel):
    """The server answers."""

    status: str = Field(examples=["ok"])
    model: str = Field(description="Name of the run or of the model folder.", examples=["20260101-120000-minilm"])


class Labels(BaseModel):
    """What the model can say."""

    labels: list[str] = Field(description="In the model's order.", examples=[["negative", "neutral", "positive"]])
    unsure_below: float = Field(description="Probability below which an answer is unsure; 0: never.", examples=[0.0])


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="One line.", examples=["texts[1] is empty"])
