"""The names under which the world's code knows the same things: `d_model`, `embed_dim`, `n_embd`, `hidden_size` …"""

from collections.abc import Mapping


def plain(name: str) -> str:
    """A name without case and underscores: `n_Heads` -> "nheads"."""
    return name.lower().replace("_", "")


def _table(synonyms: Mapping[str, str]) -> dict[str, str]:
    return {name: role for role, names in synonyms.items() for name in names.split()}


CONSTRUCTOR_ROLES = _table(
    {
        "width": "dmodel modeldim dim embeddim embdim embeddingdim embeddingsize embedsize embsize hiddensize nembd "
        "nembed dembed nhidden numhiddens width demb emb d c channels size features din dout indim outdim infeatures "
        "outfeatures querysize keysize valuesize kdim vdim normalizedshape ndim nemb hdim modelsize "
        "querydim contextdim crossattentiondim keydim valuedim nfeatures numfeatures inputsize k embeddings hid hiddim",
        "heads": "nheads numheads nhead heads h numattentionheads attentionheads nattentionheads headnum numattnheads "
        "numhead headcount nh",
        "kv_heads": "nkvheads numkvheads numkeyvalueheads nkvhead kvheads nquerygroups numquerygroups numgroups "
        "kvhead numkvgroups",
        "head_width": "headdim headsize dhead dk dv dimhead dkv headwidth hs dq",
        "layers": "nlayers numlayers nlayer depth n layers numhiddenlayers nblocks numblocks numencoderlayers "
        "numdecoderlayers numlayer numblks",
        "hidden": "dff dimfeedforward ffndim hiddendim dhidden ninner intermediatesize mlpdim ffdim dmlp "
        "ffnnumhiddens feedforwardsize ffhiddendim ffnhidden feedforwarddim ffnhiddendim ffnhiddensize "
        "dinner pfdim dhid nhid",
        "context": "maxlen maxlength blocksize context contextlength contextsize maxseqlen maxpositionembeddings "
        "npositions nctx seqlen maxseqlength sequencelength ctxlen maxtokens maxpositions t ctx maxpos "
        "maxsequencelength seqlength windowsize length",
        "vocabulary": "vocabsize nvocab numtokens vocab vocabularysize srcvocab tgtvocab srcvocabsize tgtvocabsize "
        "trgvocabsize ntoken ntokens numembeddings v inputvocabsize outputvocabsize targetvocabsize vocablen",
        "classes": "nclasses numclasses nlabels numlabels",
        "dropout": "dropout drop pdrop droprate dropoutrate dropoutp attndropout residdropout embddropout attnpdrop "
        "residpdrop embdpdrop dropoutprob attentiondropout hiddendropout",
        "epsilon": "eps epsilon layernormeps layernormepsilon rmsnormeps normeps",
        "pad": "padid padidx padtokenid paddingidx srcpadidx trgpadidx tgtpadidx padtoken padindex",
        "batch": "batchsize maxbatchsize b bsz batch",
        "capacity": "capacity maxcachelen cachelen cachesize maxcachelength maxcachesize",
    }
)
"""What a constructor's argument stands for, by its plain name."""

FORWARD_ROLES = _table(
    {
        "query": "q query queries xq inputq qx queryinput querystates inputquery",
        "key": "k key keys xk inputk kx keyinput keystates inputkey",
        "value": "v value values xv inputv vx valueinput valuestates inputvalue",
        "memory": "memory context encoderhiddenstates encoderoutput encout encoutput ctx kv xkv crossinput",
        "input": "x input inputs hidden hiddenstates embeddings emb src source h xs sequence inp inputids idx tokens "
        "tokenids ids tgt target trg embds inputembeds inputtensor data inidx enc",
        "causal": "causal iscausal usecausalmask usecausal",
        "cache": "cache kvcache layerpast past pastkeyvalue pastkeyvalues pastkv layercache caches pastkvs pasts",
        "use_cache": "usecache returncache returnpresent",
        "offset": "startpos offset pastlength cacheposition pos0 start poffset inputpos",
        "positions": "positions positionids pos posids posid",
        "turns": "freqscis freqs rope freqscomplex",
        "targets": "targets labels label y goldlabels ytrue targetids",
        "logits": "logits predictions scores output outputs preds logit",
        "lengths": "validlens validlen lengths seqlens validlengths",
        "heads": "nheads numheads nhead heads h numattentionheads",
    }
)
"""What an argument of `forward` stands for, by its plain name."""

_KEEPS_TOKENS = ("istoken", "valid", "keymask", "attentionmask")


def constructor_role(name: str) -> str | None:
    """What a constructor's argument stands for, or None."""
    role = CONSTRUCTOR_ROLES.get(plain(name))
    return "dropout" if role is None and ("drop" in name.lower()) else role


def forward_role(name: str) -> str | None:
    """What an argument of `forward` stands for, or None."""
    known = FORWARD_ROLES.get(plain(name))
    if known is not None:
        return known
    return "mask" if "mask" in plain(name) or plain(name) in _KEEPS_TOKENS else None


def usual_meaning(mask_name: str) -> str | None:
    """What True usually means in a mask of that name: "attend", "ignore", or None where both are common.

    PyTorch alone has both: `attn_mask` is True = may attend in `scaled_dot_product_attention` and True = masked out in
    `nn.MultiheadAttention`.
    """
    name = plain(mask_name)
    if name in ("keypaddingmask", "srckeypaddingmask", "tgtkeypaddingmask"):
        return "ignore"
    either = ("attnmask", "srcmask", "tgtmask", "padmask", "paddingmask", "attnbias")
    return None if name in either else "attend"
