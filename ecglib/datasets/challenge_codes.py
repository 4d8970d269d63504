"""The SNOMED CT codes that the PhysioNet/CinC challenges of 2020 and 2021 scored, and the classes they make.

Source: dx_mapping_scored.csv of the repositories physionetchallenges/evaluation-2020 (27 codes) and evaluation-2021 (30
codes); their notes say which two codes are scored as the same diagnosis. Such a pair is one class here, named by both
abbreviations: 24 classes in 2020, 26 in 2021. Names of diagnoses are shortened or respelt by us.
"""

from __future__ import annotations

SCORED = {
    "164889003": ("AF", "atrial fibrillation"),
    "164890007": ("AFL", "atrial flutter"),
    "6374002": ("BBB", "bundle branch block"),
    "426627000": ("Brady", "bradycardia"),
    "733534002": ("CLBBB|LBBB", "complete left bundle branch block"),
    "164909002": ("CLBBB|LBBB", "left bundle branch block"),
    "713427006": ("CRBBB|RBBB", "complete right bundle branch block"),
    "59118001": ("CRBBB|RBBB", "right bundle branch block"),
    "270492004": ("IAVB", "first-degree atrioventricular block"),
    "713426002": ("IRBBB", "incomplete right bundle branch block"),
    "39732003": ("LAD", "left axis deviation"),
    "445118002": ("LAnFB", "left anterior fascicular block"),
    "251146004": ("LQRSV", "low QRS voltages"),
    "698252002": ("NSIVCB", "non-specific intraventricular conduction disorder"),
    "426783006": ("NSR", "sinus rhythm"),
    "284470004": ("PAC|SVPB", "premature atrial contraction"),
    "63593006": ("PAC|SVPB", "supraventricular premature beats"),
    "10370003": ("PR", "pacing rhythm"),
    "365413008": ("PRWP", "poor R-wave progression"),
    "427172004": ("PVC|VPB", "premature ventricular contractions"),
    "17338001": ("PVC|VPB", "ventricular premature beats"),
    "164947007": ("LPR", "prolonged PR interval"),
    "111975006": ("LQT", "prolonged QT interval"),
    "164917005": ("QAb", "abnormal Q wave"),
    "47665007": ("RAD", "right axis deviation"),
    "427393009": ("SA", "sinus arrhythmia"),
    "426177001": ("SB", "sinus bradycardia"),
    "427084000": ("STach", "sinus tachycardia"),
    "164934002": ("TAb", "abnormal T wave"),
    "59931005": ("TInv", "T-wave inversion"),
}
"""{code: (class, diagnosis)} of 2021."""

ADDED_IN_2021 = ("6374002", "733534002", "365413008")

CHALLENGE_2021 = {code: name for code, (name, _) in SCORED.items()}
"""{code: class}: 30 codes, 26 classes."""

CHALLENGE_2020 = {
    code: "LBBB" if code == "164909002" else name for code, name in CHALLENGE_2021.items() if code not in ADDED_IN_2021
}
"""{code: class}: 27 codes, 24 classes; LBBB had no equal yet."""
