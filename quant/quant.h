/* The quant pass: weights to a few bits, by rounding (rtn), on the grids of half-quadratic
 * quantization (hqq), with error feedback from calibration (gptq), or by rounding scaled
 * channels (awq). */
#ifndef VISE_QUANT_QUANT_H
#define VISE_QUANT_QUANT_H

#include "pipeline/pass.h"

extern const vise_pass vise_pass_quant;

/* Up to so many bits a weight, what costs gptq time is worth it by default: ranges searched with scales of either sign
 * (3 % of the time at 4 bits, a rise of 0.0028 instead of 0.0040), and sweeps over the codes (a quarter of it). With a
 * target, whose survey costs more than either, both up to the last. */
#define VISE_QUANT_SIGNED_BITS 4
#define VISE_QUANT_SWEPT_BITS 3
#define VISE_QUANT_TARGET_BITS 7

typedef struct vise_quant_config {
    const char *scheme;
    const char *method;
    const char *otherwise;
    const char *imatrix;  /* file of importances, for GGUF types; NULL: none */
    const char *clip;     /* "auto", "none", "mse", "signed" */
    int64_t sweeps;       /* VISE_UNSET_INT: by the bits of the scheme */
    const char *range;    /* "auto", "original", "updated" */
    const char *actorder; /* "static", "none" */
    double damp;
    double asymmetric; /* GPTAQ's alpha; 0: none */
    double residual;   /* the same for what the residual stream lacks */
    const char *rotate;   /* "none", "r1", "r1+r2" */
    double smooth;        /* SmoothQuant's alpha; 0: none */
    double outlier_threshold; /* LLM.int8: of inputs */
    const char *kv_scheme;    /* of the key-value cache; "none" */
    bool allow_requantize;
    const char *candidates; /* "S,S,..."; NULL: by the kind of scheme */
    double target_bits;     /* NaN: none */
    uint64_t target_size;   /* VISE_UNSET_SIZE: none */
    bool split_fused;
    const char *target; /* a runtime; NULL: none */
    vise_texts set; /* "SELECTOR=SCHEME": the last that names a weight counts */
    vise_texts include, exclude;
} vise_quant_config;

extern const vise_method vise_method_rtn;
extern const vise_method vise_method_gptq;
extern const vise_method vise_method_hqq;

/* One of these bounds, as it holds for the options. */
int vise_quant_bits(const vise_quant_config *config, int bits);
/* What --clip means for a scheme. */
vise_clip vise_quant_clip(const vise_quant_config *config, const vise_scheme *scheme, bool feedback);
/* Plans every selected weight: scheme, or --otherwise for those that it cannot hold. */
VISE_MUST_USE vise_status vise_quant_plan(vise_pass_run *run, vise_error *err);
/* True if --kv-scheme asks for scales of the key-value cache. */
bool vise_quant_has_cache(const vise_quant_config *config);
/* True if --target-bits or --target-size leaves the schemes to measurement. */
bool vise_quant_has_target(const vise_quant_config *config);

#endif
