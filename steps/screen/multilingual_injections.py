"""Orders to a model in other languages than English: German, French, Spanish, Italian, Portuguese, Russian, Chinese,
Japanese. RE2 patterns of our own by rule name; see poison.py.

An order and a statement often have one form ("il ignore les consignes précédentes"). Such forms count only where a
sentence may begin with them: `_ORDER` is looked at by Python's `re`, because RE2 can't look back.
"""

from steps.engines.scan.patterns import Pattern

_WORDS = r"(?:\S+\s+)"
# Before an order: no word, or one that begins a clause; never a subject, and no "not".
_BEGINS = (
    "bitte", "und", "jetzt", "nun", "dann", "also", "hallo", "et", "puis", "maintenant", "alors", "plaît", "bonjour",
    "favor", "ahora", "entonces", "hola", "ora", "adesso", "favore", "poi", "agora", "então", "please", "and", "now",
)  # fmt: skip
_AFTER_WORDS = "|".join(rf"(?<=\b{word}\s)" for word in _BEGINS)
_ORDER = rf"(?:(?<!\w\s)(?<!\w)(?<!\w['’])|{_AFTER_WORDS})"

_DE_OLD = (
    r"(?:vorherig|bisherig|vorig|früher|obig|vorangegangen|vorangehend|vorhergehend|vorstehend|ursprünglich|"
    r"anfänglich)e[nrs]?"
)
_DE_OBJECT = (
    r"(?:system)?(?:anweisung(?:en)?|instruktion(?:en)?|befehle?|vorgaben|regeln|richtlinien|anleitungen|prompts?)\b"
)
_DE = (
    rf"(?:ignorier(?:e|t|en\s+sie)|vergiss|vergesst|vergessen\s+sie|missachte(?:n\s+sie)?|verwirf)\s+{_WORDS}{{0,3}}"
    rf"(?:{_DE_OLD}\s+{_WORDS}{{0,2}}?{_DE_OBJECT}|deine\s+{_WORDS}?{_DE_OBJECT})(?:\s+(?:bitte\s+)?nicht\b)?"
)
# "Du sollst die bisherigen Anweisungen ignorieren"; with "nicht" or "zu" before the verb it is none.
_DE_LAST = (
    rf"\b(?:sollst|musst|wirst|kannst|darfst|bitte)\s+{_WORDS}{{0,4}}?{_DE_OLD}\s+{_WORDS}{{0,2}}?{_DE_OBJECT}\s+"
    r"(?:(?:bitte|jetzt|nun|ab\s+jetzt|vollständig|komplett|einfach)\s+){0,2}(?:ignorieren|vergessen|missachten)\b"
)
_FR_OBJECT = r"(?:instructions?|consignes?|directives?|règles?|ordres?|prompts?)"
_FR_OLD = r"(?:précédente?s?|antérieure?s?|ci-dessus|initiale?s?|préalables?|d['’]avant|système|reçues?)"
_FR = (
    r"(?:ignore[sz]?|oublie[sz]?|(?:veuillez|merci\s+d[e'’]|(?:dois|devez|faut)\s)\s*(?:ignorer|oublier)|"
    r"ne\s+(?:suis|suivez|tiens|tenez)\s+(?:pas|plus|pas\s+compte|plus\s+compte))\s+"
    rf"(?:(?:de|des|à)\s+)?(?:(?:toutes|tous|les|tes|vos|mes|ces|ses|l['’]ensemble|des)\s+){{0,3}}"
    rf"(?:{_FR_OBJECT}\s+{_WORDS}{{0,2}}?{_FR_OLD}|(?:précédente?s?|anciennes?)\s+{_FR_OBJECT})"
)
_ES_OBJECT = r"(?:instrucci(?:ón|ones)|órdenes|indicaci(?:ón|ones)|reglas|directrices|normas|prompts?)"
_ES_OLD = r"(?:anterior(?:es)?|previ[ao]s?|precedentes?|de\s+arriba|iniciales|originales|del\s+sistema|recibidas)"
_ES = (
    r"(?:ignor(?:a|e|en|ad|es)|olvid(?:a|e|en|ad|es)|descart(?:a|e|en|ad)|haz\s+caso\s+omiso\s+(?:de|a)|"
    r"(?:debes|tienes\s+que|hay\s+que)\s+(?:ignorar|olvidar)|no\s+(?:sigas|obedezcas|hagas\s+caso\s+(?:de|a)))\s+"
    rf"(?:(?:todas?|todos|las?|los|tus|sus|de|cualquier|estas|esas)\s+){{0,3}}"
    rf"(?:{_ES_OBJECT}\s+{_WORDS}{{0,2}}?{_ES_OLD}|(?:anteriores|previas)\s+{_ES_OBJECT})"
)
_IT = (
    r"(?:ignor(?:a|ate|i)|dimentica(?:te)?|scorda(?:te)?|(?:devi|dovete)\s+(?:ignorare|dimenticare))\s+"
    r"(?:(?:tutt[ei]|le|gli|i|tue|vostre|qualsiasi)\s+){0,3}(?:"
    rf"(?:istruzion[ei]|indicazion[ei]|regol[ae]|direttiv[ae]|ordini|prompt)\s+{_WORDS}{{0,2}}?"
    r"(?:precedent[ei]|anterior[ei]|inizial[ei]|di\s+sistema|ricevut[ei])|precedenti\s+(?:istruzioni|indicazioni|regole))"
)
_PT = (
    r"(?:ignor(?:e|em|a)|esque(?:ça|çam|ce)|desconsidere(?:m)?|(?:deve|precisa)\s+(?:ignorar|esquecer))\s+"
    r"(?:(?:todas|todos|as|os|suas|tuas|quaisquer|de)\s+){0,3}(?:"
    rf"(?:instruç(?:ão|ões)|ordens|regras|diretrizes|orientações|prompts?)\s+{_WORDS}{{0,2}}?"
    r"(?:anterior(?:es)?|prévias|iniciais|acima|do\s+sistema|recebidas))"
)
_TURNED_BY = {
    "de": (_DE, r"(?!(?s:.*)\snicht$)(?<!ich\s)"),
    "fr": (_FR, ""),
    "es": (_ES, ""),
    "it": (_IT, ""),
    "pt": (_PT, ""),
}
ORDERS = [
    *(
        Pattern(f"prompt_injection.override_{name}", source, confirm=f"{_ORDER}{more}(?:{source})")
        for name, (source, more) in _TURNED_BY.items()
    ),
    Pattern("prompt_injection.override_de_last", _DE_LAST),
]
OTHERS = {
    "override_ru": r"(?:игнорируй(?:те)?|проигнорируй(?:те)?|забудь(?:те)?|отбрось(?:те)?)\s+(?:\S+\s+){0,3}"
    r"(?:предыдущи[ехй]|прежни[ехй]|прошлы[ехй]|вышеуказанны[ехй])\s+(?:\S+\s+){0,1}"
    r"(?:инструкци[июй]|указани[яей]|команд[ыу]?|правил[ао]?)",
    "override_zh": r"(?:忽略|无视|無視|忘记|忘記|不要理会)你?"
    r"(?:之前|以前|以上|上述|前面|先前|所有|全部|一切|的|任何|過去|上面){1,5}"
    r"(?:指令|指示|命令|提示|规则|規則|说明|說明|设定)",
    "override_ja": r"(?:これまで|以前|上記|前|今まで|過去)の"
    r"(?:すべて|全て|全部)?の?(?:指示|命令|プロンプト|ルール|指令)を(?:すべて|全て|全部)?(?:無視|忘れ)",
    "reveal_multilingual": (
        r"\b(?:zeig(?:e|t)?|nenn(?:e|t)?|verrate?|gib|affiche[rz]?|montre[rz]?|révèle[rz]?|donne[rz]?|"
        r"muestra(?:me)?|muéstra(?:me)?|revela|dime|imprime|mostra(?:mi)?|rivela|dimmi|mostre|revele)\s+(?:\S+\s+){0,3}?"
        r"(?:dein(?:en?)?|ihren?|tes?|ton|tu|tus|tuo|tue|il\s+tuo|teu|seu|suas|vos|votre)\s+(?:\S+\s+){0,2}?"
        r"(?:system-?\s?prompts?|systemanweisung(?:en)?|prompts?\s+(?:d[eu]l?\s+)?(?:système|sistema)|"
        r"(?:instructions|instrucciones|istruzioni|instruções)\s+(?:d[eo]l?\s+|di\s+)?(?:système|sistema))"
    ),
    "persona_multilingual": (
        r"\b(?:du\s+bist\s+(?:jetzt|nun|ab\s+jetzt)|tu\s+es\s+(?:maintenant|désormais)|vous\s+êtes\s+"
        r"(?:maintenant|désormais)|ahora\s+eres|a\s+partir\s+de\s+ahora\s+eres|ora\s+sei|agora\s+você\s+é)\s+"
        r"(?:(?:ein|eine|une?|una?|um|uma|ki|ia|chatbot|assistente?|assistant|asistente|modelo?|modell)\s+){0,3}"
        r"(?:dan\b|(?:ohne\s+(?:jede\s+)?(?:regeln|einschränkungen|filter|grenzen)|sans\s+(?:aucune\s+)?(?:règles?|"
        r"restrictions?|limites?|filtres?)|sin\s+(?:reglas|restricciones|límites|filtros?)|senza\s+(?:regole|restrizioni|"
        r"limiti|filtri)|sem\s+(?:regras|restrições|limites|filtros)))"
    ),
}
