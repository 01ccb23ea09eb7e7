"""How much of the web is in each language, and how many people speak it: published numbers.

Pages: Common Crawl's crawl of January 2026 (CC-MAIN-2026-04), 2,329,630,755 pages, by the first language that
CLD2 finds in each (github.com/commoncrawl/cc-crawl-statistics, plots/languages.csv). Speakers, in millions,
first or second language: the sum over territories of population times share of speakers in Unicode CLDR 48
(supplemental/territoryInfo), a language in two scripts counted once. "?" is not known, or below 10,000.
"""

from dataclasses import dataclass

CRAWL = "CC-MAIN-2026-04"
CRAWLED_PAGES = 2_329_630_755  # of which 68,611,738 in no language that was found
LOW_RESOURCE = 0.01  # a language with less than this share of the web is called low-resource


@dataclass(frozen=True)
class WebLanguage:
    """`pages` of the crawl and millions of `speakers`; None: not known."""

    name: str
    pages: int | None
    speakers: float | None

    @property
    def share(self) -> float | None:
        """Share of the crawl's pages."""
        return None if self.pages is None else self.pages / CRAWLED_PAGES

    @property
    def low_resource(self) -> bool:
        """Whether its share is below LOW_RESOURCE; one that the crawl does not tell apart has less."""
        return (self.share or 0.0) < LOW_RESOURCE


_TABLE = """
aa Afar 1983 2.31; ab Abkhazian 20293 0.112; ace Acehnese ? 3.9; af Afrikaans 220320 9.97;
ak Akan 10226 13.5; am Amharic 101547 39.2; an Aragonese ? ?; ar Arabic 15444953 379;
ary Moroccan Arabic ? 32.5; arz Egyptian Arabic ? 71.2; as Assamese 81061 18.3; ay Aymara 3066 2.98;
az Azerbaijani 1355060 32.2; ba Bashkir 45483 1.83; bcl Central Bikol ? ?; be Belarusian 374657 2.99;
bg Bulgarian 5982457 7.68; bi Bislama 2374 0.286; bn Bengali 2572687 280; bo Tibetan 45256 3.06;
br Breton 61049 0.568; bs Bosnian 1359058 3.76; ca Catalan 4749693 8.22; ceb Cebuano 46732 28.4;
chr Cherokee 1503 0.0263; co Corsican 76852 0.164; crh Crimean Tatar ? 0.2;
crs Seselwa Creole French 2171 0.0962; cs Czech 26584343 13.2; cy Welsh 250010 0.921;
da Danish 11839520 7.25; de German 138788342 142; dv Divehi 61544 0.385; dz Dzongkha 4335 0.419;
el Greek 12503859 12.2; en English 971358233 1.73e+03; eo Esperanto 188916 ?; es Spanish 107641802 508;
et Estonian 3260542 0.854; eu Basque 850614 1.03; ext Extremaduran ? 0.2; fa Persian 4540556 89.2;
fi Finnish 8461724 5.79; fj Fijian 3259 0.371; fo Faroese 125277 0.073; fr French 108850506 333;
fuv Nigerian Fulfulde ? 15.9; fy Western Frisian 55381 0.764; ga Irish 144593 1.25;
gcf Guadeloupean Creole ? ?; gcr Guianese Creole ? 0.1; gd Scottish Gaelic 43570 0.0753;
gl Galician 836152 3.32; gn Guarani 21084 6.1; gom Goan Konkani ? ?; got Gothic 2271 ?;
grc Ancient Greek ? ?; gu Gujarati 291412 65.6; gug Paraguayan Guaraní ? ?; guw Gun ? ?; gv Manx 17380 ?;
ha Hausa 91419 42.8; haw Hawaiian 18179 0.0304; hbo Ancient Hebrew ? ?; he Hebrew 5925745 9.4;
hi Hindi 5214443 580; hr Croatian 5042028 6.79; ht Haitian Creole 51844 9.52; hu Hungarian 11971838 12.3;
hy Armenian 745330 5.44; ia Interlingua 15415 ?; id Indonesian 26756567 181; ie Interlingue 7478 ?;
ig Igbo 45134 30.8; ik Inupiaq 2098 ?; is Icelandic 824952 0.364; it Italian 56165174 70.5;
iu Inuktitut 8557 0.0427; ja Japanese 134495814 118; jv Javanese 104258 96.1; ka Georgian 1020877 4.32;
kab Kabyle ? 3.7; kha Khasi 7561 1.13; kik Kikuyu ? ?; kk Kazakh 875476 14.4; kl Kalaallisut 23313 0.0557;
km Khmer 261138 15.2; kn Kannada 454015 52.1; ko Korean 18458793 79.3; ks Kashmiri 93 5.95;
ku Kurdish 151115 12.1; ky Kyrgyz 246384 3.45; la Latin 2712571 ?; lb Luxembourgish 89862 0.45;
lg Ganda 10693 6.41; lif Limbu 112 0.379; lij Ligurian ? 0.5; ln Lingala 12720 3.99; lo Lao 122662 5.49;
lt Lithuanian 4073475 2.41; ltg Latgalian ? 0.2; lv Latvian 2095645 1.1; mfe Morisyen 4288 1.18;
mg Malagasy 87156 26.5; mi Maori 33916 0.145; mk Macedonian 844241 1.61; ml Malayalam 664813 45.9;
mn Mongolian 388893 6.74; mr Marathi 760423 98.6; ms Malay 1935497 36.8; mt Maltese 71552 0.47;
my Burmese 431868 37.2; na Nauru 697 ?; ne Nepali 1336345 21.7; nl Dutch 41754155 32.9;
nn Norwegian Nynorsk 333993 1.38; no Norwegian 7440358 11; nso Northern Sotho 2969 5.68;
ny Nyanja 18241 18.9; oc Occitan 83071 2.06; om Oromo 18721 38.3; or Odia 189980 45.1;
pa Punjabi 207443 220; pcm Nigerian Pidgin ? 49.7; pl Polish 47229235 41.5; ps Pashto 118209 58.1;
pt Portuguese 57220604 249; qu Quechua 22711 11.9; rm Romansh 35204 0.0443; rn Rundi 2939 8.56;
ro Romanian 12438097 20; ru Russian 145901486 201; rw Kinyarwanda 59693 12; sa Sanskrit 108490 0.0169;
sco Scots 14300 1.71; sd Sindhi 50559 41.5; sdh Southern Kurdish ? 4; se Northern Sami ? 0.1;
sg Sango 26460 2.77; si Sinhala 240193 14.9; sk Slovak 9195693 6.81; sl Slovenian 3070632 1.97;
sm Samoan 16581 0.253; sn Shona 28694 13.9; so Somali 137036 18.6; sq Albanian 1169261 6.8;
sr Serbian 5834815 7.8; ss Swati 955 2.35; st Southern Sotho 16053 6.96; su Sundanese 38124 33.8;
sux Sumerian 171 ?; sv Swedish 16048273 13.3; sw Swahili 294364 194; syr Syriac 9047 0.23;
ta Tamil 1158981 90.6; te Telugu 512028 101; tg Tajik 160462 11.2; th Thai 9151330 55.9;
ti Tigrinya 19462 10.9; tk Turkmen 83072 7.18; tl Tagalog 227520 73.2; tn Tswana 9656 6.53;
to Tongan 4002 0.0996; tr Turkish 27932444 82.4; ts Tsonga 2332 5.31; tt Tatar 170609 1.97;
ug Uyghur 47439 8.2; uk Ukrainian 16204415 24.1; ur Urdu 743860 313; uz Uzbek 588441 33.5;
uzs Southern Uzbek ? ?; ve Venda 624 1.5; vec Venetian ? 1.4; vi Vietnamese 25581840 92.4;
vo Volapük 32114 ?; wa Walloon ? 0.7; war Waray 39598 3.43; wo Wolof 7244 13.2; wuu Wu Chinese ? 85;
xh Xhosa 22462 10.9; yi Yiddish 55649 0.916; yo Yoruba 36632 31.8; yue Cantonese ? 81.5;
za Zhuang 2391 4.39; zh Chinese 114812782 1.33e+03; zu Zulu 44341 15
"""


def _read(entry: str) -> tuple[str, WebLanguage]:
    code, *name, pages, speakers = entry.split()
    number = None if pages == "?" else int(pages)
    return code, WebLanguage(" ".join(name), number, None if speakers == "?" else float(speakers))


LANGUAGES = dict(map(_read, _TABLE.strip().replace("\n", " ").split(";")))  # by ISO 639 code
